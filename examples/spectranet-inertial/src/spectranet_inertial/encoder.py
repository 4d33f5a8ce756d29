"""From visible tokens to vectors: a small transformer, written out. Put your own network here.

What is hidden is never looked at, and what is padding changes nothing.

Shape suffixes: B samples, N tokens, V visible tokens, K numbers of a token, H heads, D width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from spectranet import Encoded, ModalityBatch, gather_tokens, init_linear, sincos_position
from spectranet_inertial.config import InertialConfig

__all__ = ["Block", "build_encoder", "flops", "shard_units"]


class InertialEncoder(nn.Module):
    """Visible tokens of ``width``, and their mean."""

    def __init__(self, config: InertialConfig) -> None:
        super().__init__()
        self.width = config.width
        self.embed = nn.Linear(config.patch * config.channels, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, batch: ModalityBatch, trunk: nn.Module | None = None) -> Encoded:
        valid_BV = batch.visible_valid_BV
        position_BVP = gather_tokens(batch.position_BNP, batch.visible_BV)
        patches_BVK = gather_tokens(batch.data["patches"], batch.visible_BV)

        # In bf16 the parameters are bf16, while data is always fp32.
        tokens_BVD = self.embed(patches_BVK.to(self.embed.weight.dtype))
        tokens_BVD = tokens_BVD + sincos_position(position_BVP, self.width).to(tokens_BVD.dtype)
        # A row without a single key would be NaN, so one with nothing to see sees its padding.
        key_BV = valid_BV | ~valid_BV.any(1, keepdim=True)
        for block in self.blocks:
            tokens_BVD = block(tokens_BVD, key_BV)
        tokens_BVD = self.norm(tokens_BVD)

        return Encoded(
            tokens_BND=tokens_BVD,
            valid_BN=valid_BV,
            position_BNP=position_BVP,
            segment_BN=gather_tokens(batch.segment_BN, batch.visible_BV),
            pooled_BD=_mean(tokens_BVD, valid_BV),
        )

    def init_weights(self) -> None:
        """Called once there is memory for the parameters. A pretrained model would be loaded here.

        It must set every parameter and every buffer.
        """
        init_linear(self)
        # So that a token is as large as its position code at the start.
        nn.init.normal_(self.embed.weight, std=0.7 * self.embed.in_features**-0.5)


class Block(nn.Module):
    """x = x + attention; x = x + MLP; norms come first."""

    def __init__(self, config: InertialConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(config.width)
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.mlp_norm = nn.LayerNorm(config.width)
        self.up = nn.Linear(config.width, config.mlp_hidden)
        self.down = nn.Linear(config.mlp_hidden, config.width)

    def forward(self, x_BVD: Tensor, key_BV: Tensor) -> Tensor:
        x_BVD = x_BVD + self._attend(self.attention_norm(x_BVD), key_BV)
        x_BVD = x_BVD + self._mlp(self.mlp_norm(x_BVD))
        return x_BVD

    def _attend(self, x_BVD: Tensor, key_BV: Tensor) -> Tensor:
        thirds = self.qkv(x_BVD).chunk(3, dim=-1)
        q, k, v = (third.unflatten(-1, (self.heads, -1)).transpose(1, 2) for third in thirds)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=key_BV[:, None, None, :])
        return self.out(mixed.transpose(1, 2).flatten(-2))  # type: ignore[no-any-return]

    def _mlp(self, x_BVD: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x_BVD)))  # type: ignore[no-any-return]


def build_encoder(config: InertialConfig, trunk: nn.Module | None = None) -> InertialEncoder:
    """Built without memory first (on the meta device): nothing may be computed here."""
    return InertialEncoder(config)


def shard_units() -> tuple[type, ...]:
    """What FSDP shards, checkpoints and compiles on its own: the module that is repeated."""
    return (Block,)


def flops(config: InertialConfig, tokens: int, visible: int, trunk: None = None) -> int:
    """Of one sample, forward: two for a multiplication and its addition. Hidden tokens cost nothing."""
    width = config.width
    embed = 2 * visible * config.patch * config.channels * width
    attention = 8 * visible * width**2 + 4 * visible**2 * width
    mlp = 4 * visible * width * config.mlp_hidden
    return embed + config.layers * (attention + mlp)


def _mean(tokens_BVD: Tensor, valid_BV: Tensor) -> Tensor:
    """Of the valid tokens, (B, D), summed in fp32."""
    weight_BV1 = valid_BV[..., None].float()
    mean_BD = (tokens_BVD.float() * weight_BV1).sum(1) / weight_BV1.sum(1).clamp_min(1)
    return mean_BD.to(tokens_BVD.dtype)
