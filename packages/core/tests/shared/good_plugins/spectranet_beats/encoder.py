"""A small transformer over the visible patches, and what masked modelling predicts of the hidden ones.

Shape suffixes: B samples, V visible tokens, H hidden tokens, N all tokens, F features, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spectranet import Encoded, Loss, ModalityBatch, gather_tokens, init_linear, sincos_position
from spectranet_beats.series import FEATURES


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x_BVD: Tensor, valid_BV: Tensor) -> Tensor:
        x_BVD = x_BVD + self.attend(self.before_attention(x_BVD), valid_BV)
        return x_BVD + self.down(torch.tanh(self.up(self.before_mlp(x_BVD))))

    def attend(self, x_BVD: Tensor, valid_BV: Tensor) -> Tensor:
        q_BVD, k_BVD, v_BVD = self.qkv(x_BVD).chunk(3, dim=-1)
        scores_BVV = q_BVD @ k_BVD.mT / q_BVD.shape[-1] ** 0.5
        scores_BVV = scores_BVV.masked_fill(~valid_BV[:, None, :], torch.finfo(scores_BVV.dtype).min)
        return self.out(scores_BVV.softmax(-1) @ v_BVD)


class BeatsEncoder(nn.Module):
    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.Linear(FEATURES, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))

    def init_weights(self) -> None:
        init_linear(self, std=0.1)

    def forward(self, batch: ModalityBatch, trunk: nn.Module | None = None) -> Encoded:
        dtype = self.embed.weight.dtype
        visible_BVF = gather_tokens(batch.data["patches"], batch.visible_BV)
        position_BVP = gather_tokens(batch.position_BNP, batch.visible_BV)
        valid_BV = batch.visible_valid_BV
        x_BVD = self.embed(visible_BVF.to(dtype)) + sincos_position(position_BVP, self.width).to(dtype)
        for block in self.blocks:
            x_BVD = block(x_BVD, valid_BV)
        summed_BD = (x_BVD * valid_BV[..., None]).sum(1)
        pooled_BD = summed_BD / valid_BV.sum(1, keepdim=True).clamp_min(1)
        segment_BV = gather_tokens(batch.segment_BN, batch.visible_BV)
        return Encoded(x_BVD, valid_BV, position_BVP, segment_BV, pooled_BD)


class BeatsHead(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, FEATURES)

    def init_weights(self) -> None:
        init_linear(self)

    def forward(self, states_BHD: Tensor, batch: ModalityBatch) -> Loss:
        target_BHF = gather_tokens(batch.data["patches"], batch.hidden_BH)
        error_BHF = self.out(states_BHD)
        if error_BHF.dtype is not torch.float64:
            error_BHF = error_BHF.float()
        error_BH = (error_BHF - target_BHF).square().mean(-1)
        return Loss(error_BH.masked_fill(~batch.hidden_valid_BH, 0).sum(), batch.hidden_valid_BH.sum())

    def flops(self, hidden: int) -> int:
        return 2 * hidden * self.out.in_features * FEATURES


def build_encoder(config: Any, trunk: nn.Module | None = None) -> BeatsEncoder:
    return BeatsEncoder(config.width, config.layers)


def build_target_head(config: Any, width: int) -> BeatsHead:
    return BeatsHead(width)


def shard_units() -> tuple[type, ...]:
    return (Block,)


def flops(config: Any, tokens: int, visible: int, trunk: Any) -> int:
    """A token and layer: projections 4 x width^2, the MLP 4 x width^2, attention 2 x visible x width."""
    width = config.width
    layer = 8 * width * width + 2 * visible * width
    return 2 * visible * (FEATURES * width + config.layers * layer)
