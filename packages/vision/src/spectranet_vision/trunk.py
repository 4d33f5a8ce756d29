"""The ViT that images and video share.

Shape suffixes: B samples, V visible tokens, L visible tokens and the class token, D width,
C components of a patch, G cells of the position grid.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel
from transformers.models.vit.modeling_vit import ViTLayer

from spectranet import ConfigError, init_transformers
from spectranet_vision.config import VitConfig
from spectranet_vision.pretrained import read_architecture, resolve

__all__ = ["VitTrunk", "shard_units"]


def shard_units() -> tuple[type, ...]:
    """The blocks. The embeddings stay with the root, since encoders read their parameters."""
    return (ViTLayer,)


class VitTrunk(nn.Module):
    """``ViTModel`` of transformers, fed with the visible tokens only.

    With everything visible its output equals ``ViTModel.forward(pixels)``, at other sizes
    ``forward(pixels, interpolate_pos_encoding=True)``.
    """

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        config = resolve(config)
        self.width = config.width
        self.patch_size = config.patch_size
        self.grid = config.image_size // config.patch_size
        self.pretrained = config.pretrained
        self.vit = ViTModel(_architecture(config), add_pooling_layer=False)

    def init_weights(self) -> None:
        """Random weights by the library's rules, or those of the pretrained folder.

        Raises:
            ConfigError: the folder lacks weights.
        """
        if self.pretrained:
            self.vit.load_state_dict(_load(self.pretrained).state_dict())
        else:
            init_transformers(self.vit)

    def embed(self, patches_BVC: Tensor) -> Tensor:
        """Normalised patches to tokens (B, V, D): the patch convolution as the product it is."""
        projection = self.vit.embeddings.patch_embeddings.projection
        weight_DC = projection.weight.flatten(1)
        return F.linear(patches_BVC.to(weight_DC.dtype), weight_DC, projection.bias)

    def forward(
        self, tokens_BVD: Tensor, cell_BV: Tensor, grid: int, valid_BV: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The class token (B, D) and the tokens (B, V, D), each seeing all that are valid.

        Args:
            tokens_BVD: embedded tokens, without spatial position.
            cell_BV: row * grid + column of each.
            grid: cells along a side of the picture.
            valid_BV: False at padding; None where there is none, for SDPA's faster kernels.
        """
        class_place_11D, place_GD = self._places(grid)
        class_B1D = (self.vit.embeddings.cls_token + class_place_11D).expand(len(tokens_BVD), -1, -1)
        x_BLD = torch.cat([class_B1D, tokens_BVD + F.embedding(cell_BV, place_GD)], dim=1)
        mask = None if valid_BV is None else _attention_mask(valid_BV)
        for layer in self.vit.layers:
            x_BLD = layer(x_BLD, mask)
        x_BLD = self.vit.layernorm(x_BLD)
        return x_BLD[:, 0], x_BLD[:, 1:]

    def _places(self, grid: int) -> tuple[Tensor, Tensor]:
        """Positions of the class token (1, 1, D) and of each cell (G, D), interpolated to the grid."""
        positions_1LD = self.vit.embeddings.position_embeddings
        class_place_11D, place_GD = positions_1LD[:, :1], positions_1LD[0, 1:]
        if grid != self.grid:
            square = place_GD.float().unflatten(0, (self.grid, self.grid)).permute(2, 0, 1)
            square = F.interpolate(square[None], size=(grid, grid), mode="bicubic", align_corners=False)
            place_GD = square[0].flatten(1).T.to(place_GD.dtype)
        return class_place_11D, place_GD


def _attention_mask(valid_BV: Tensor) -> Tensor:
    """bool (B, 1, L, L) that hides padding."""
    seen_BL = F.pad(valid_BV, (1, 0), value=True)
    return seen_BL[:, None, None, :].expand(-1, 1, seen_BL.shape[1], -1)


def _architecture(config: VitConfig) -> ViTConfig:
    still: dict[str, Any] = {
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "attn_implementation": "sdpa",
    }
    if config.pretrained:
        return ViTConfig.from_dict({**read_architecture(config.pretrained), **still})
    return ViTConfig(
        image_size=config.image_size,
        patch_size=config.patch_size,
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.mlp_hidden,
        **still,
    )


def _load(folder: str) -> ViTModel:
    """The model in a folder, complete.

    Raises:
        ConfigError: no weights there, or some are missing or of another shape.
    """
    try:
        loaded: Any = ViTModel.from_pretrained(
            folder,
            local_files_only=True,
            attn_implementation="sdpa",
            add_pooling_layer=False,
            output_loading_info=True,
        )
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"trunk 'vit': no weights could be read from {folder!r}: {error}") from error
    model: ViTModel = loaded[0]
    missing = sorted(loaded[1]["missing_keys"])
    if missing:
        raise ConfigError(
            f"trunk 'vit': {folder!r} lacks {len(missing)} of the weights, such as {missing[0]!r}.\n"
            "  write it again with ViTModel.save_pretrained(folder) of transformers"
        )
    return model
