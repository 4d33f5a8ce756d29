"""A transformer over the visible patches; hidden ones never enter it (He et al. 2022, "Masked Autoencoders").

Shape suffixes: B samples, N patches, V visible patches, S steps of a patch, C channels, D width, H heads.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from spectranet import Encoded, ModalityBatch, gather_tokens, init_linear, sincos_position
from spectranet_inertial.config import InertialConfig, patch_steps
from spectranet_inertial.recording import CHANNELS

__all__ = ["Block", "InertialEncoder", "build_encoder", "flops", "shard_units"]


class Block(nn.Module):
    """Residual plus attention, residual plus MLP, each behind a norm."""

    def __init__(self, width: int, heads: int, mlp_hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.widen = nn.Linear(width, mlp_hidden)
        self.narrow = nn.Linear(mlp_hidden, width)

    def forward(self, tokens_BVD: Tensor, attend_B11V: Tensor) -> Tensor:
        tokens_BVD = tokens_BVD + self._attention(self.norm_attention(tokens_BVD), attend_B11V)
        return tokens_BVD + self._mlp(self.norm_mlp(tokens_BVD))

    def _mlp(self, tokens_BVD: Tensor) -> Tensor:
        return self.narrow(F.gelu(self.widen(tokens_BVD)))

    def _attention(self, tokens_BVD: Tensor, attend_B11V: Tensor) -> Tensor:
        split = self.query_key_value(tokens_BVD).unflatten(-1, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)  # (B, H, V, D / H) each
        mixed_BHVd = F.scaled_dot_product_attention(query, key, value, attn_mask=attend_B11V)
        return self.join(mixed_BHVd.transpose(1, 2).flatten(2))


class InertialEncoder(nn.Module):
    """Patches of 0.2 s or so as tokens, and their mean."""

    def __init__(self, config: InertialConfig) -> None:
        super().__init__()
        self.width: int = config.width
        self.stem = nn.Linear(patch_steps(config) * len(CHANNELS), config.width)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_hidden) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(self, batch: ModalityBatch, trunk: nn.Module | None = None) -> Encoded:
        patches_BVSC = gather_tokens(batch.data["patches"], batch.visible_BV)
        position_BVP = gather_tokens(batch.position_BNP, batch.visible_BV)
        dtype = self.stem.weight.dtype
        tokens_BVD = self.stem(patches_BVSC.flatten(2).to(dtype))
        tokens_BVD = tokens_BVD + sincos_position(position_BVP, self.width).to(dtype)
        # A row without a single key would be NaN, so one with nothing to see sees its padding.
        valid_BV = batch.visible_valid_BV
        attend_B11V = (valid_BV | ~valid_BV.any(1, keepdim=True))[:, None, None, :]
        for block in self.blocks:
            tokens_BVD = block(tokens_BVD, attend_B11V)
        tokens_BVD = self.norm(tokens_BVD)
        return Encoded(
            tokens_BND=tokens_BVD,
            valid_BN=valid_BV,
            position_BNP=position_BVP,
            segment_BN=gather_tokens(batch.segment_BN, batch.visible_BV),
            pooled_BD=_mean_valid(tokens_BVD, valid_BV),
        )

    def init_weights(self) -> None:
        """N(0, 0.02), the stem's so that a patch weighs as much as its position does."""
        init_linear(self)
        nn.init.normal_(self.stem.weight, std=self.stem.in_features**-0.5)


def _mean_valid(tokens_BVD: Tensor, valid_BV: Tensor) -> Tensor:
    """Mean of the valid tokens of each sample, (B, D), summed in fp32."""
    counted_BVD = tokens_BVD.float().masked_fill(~valid_BV[..., None], 0.0)
    mean_BD = counted_BVD.sum(1) / valid_BV.sum(1, keepdim=True).clamp_min(1)
    return mean_BD.to(tokens_BVD.dtype)


def build_encoder(config: InertialConfig, trunk: nn.Module | None = None) -> InertialEncoder:
    return InertialEncoder(config)


def shard_units() -> tuple[type, ...]:
    return (Block,)


def flops(config: InertialConfig, tokens: int, visible: int, trunk: object = None) -> int:
    """Forward of one sample, a multiplication and an addition counting as two; hidden patches cost
    nothing."""
    width = config.width
    stem = 2 * visible * patch_steps(config) * len(CHANNELS) * width
    attention = 8 * visible * width**2 + 4 * visible**2 * width
    mlp = 4 * visible * width * config.mlp_hidden
    return stem + config.layers * (attention + mlp)
