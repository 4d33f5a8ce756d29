"""Tokens of water levels through a network that gauges share, and what is asked back of them.

B samples, N tokens, V visible ones, H hidden ones, S readings in a token, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spectranet import Encoded, Loss, ModalityBatch, gather_tokens, init_linear, sincos_position
from spectranet_tides.options import SeaOptions, TideOptions


class Wave(nn.Module):
    """A token sees the valid tokens of its sample."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_BVD: Tensor, valid_BV: Tensor) -> Tensor:
        q, k, v = self.mix(self.norm(x_BVD)).chunk(3, dim=-1)
        return x_BVD + self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=valid_BV[:, None, :]))


class Sea(nn.Module):
    def __init__(self, config: SeaOptions) -> None:
        super().__init__()
        self.width = config.width
        self.waves = nn.ModuleList(Wave(config.width) for _ in range(config.layers))

    def init_weights(self) -> None:
        init_linear(self)
        for wave in self.waves:
            wave.norm.reset_parameters()

    def forward(self, x_BVD: Tensor, valid_BV: Tensor) -> Tensor:
        for wave in self.waves:
            x_BVD = wave(x_BVD, valid_BV)
        return x_BVD


class TideEncoder(nn.Module):
    def __init__(self, config: TideOptions, trunk: Sea | None) -> None:
        super().__init__()
        assert trunk is not None
        self.width = trunk.width
        self.embed = nn.Linear(config.patch, self.width)
        self.register_buffer("metres", torch.empty(1))

    def init_weights(self) -> None:
        init_linear(self)
        self.metres.fill_(1.0)

    def forward(self, inputs: ModalityBatch, trunk: Sea) -> Encoded:
        levels_BVS = gather_tokens(inputs.data["levels"], inputs.visible_BV) / self.metres
        position_BVP = gather_tokens(inputs.position_BNP, inputs.visible_BV)
        valid_BV = inputs.visible_valid_BV
        x_BVD = self.embed(levels_BVS.to(self.embed.weight.dtype))
        x_BVD = x_BVD + sincos_position(position_BVP, self.width).to(x_BVD.dtype)
        # a sample of which nothing is visible attends to its padding rather than to nothing
        x_BVD = trunk(x_BVD, valid_BV | ~valid_BV.any(1, keepdim=True))
        share_BV = valid_BV / valid_BV.sum(1, keepdim=True).clamp_min(1)
        pooled_BD = (x_BVD * share_BV[..., None].to(x_BVD.dtype)).sum(1)
        segment_BV = inputs.segment_BN.gather(1, inputs.visible_BV)
        return Encoded(x_BVD, valid_BV, position_BVP, segment_BV, pooled_BD)


class LevelHead(nn.Module):
    """The levels of a hidden token, by mean squared error."""

    def __init__(self, config: TideOptions, width: int) -> None:
        super().__init__()
        self.predict = nn.Linear(width, config.patch)

    def init_weights(self) -> None:
        init_linear(self)

    def forward(self, states_BHD: Tensor, inputs: ModalityBatch) -> Loss:
        target_BHS = gather_tokens(inputs.data["levels"], inputs.hidden_BH)
        error_BH = (self.predict(states_BHD).float() - target_BHS).square().mean(-1)
        valid_BH = inputs.hidden_valid_BH
        return Loss(sum=(error_BH * valid_BH).sum(), weight=float(valid_BH.sum()))


def shard_units() -> tuple[type, ...]:
    return (Wave,)


def flops(config: TideOptions, tokens: int, visible: int, trunk: SeaOptions) -> int:
    wave = 2 * 4 * trunk.width**2 * visible + 4 * trunk.width * visible**2
    return 2 * config.patch * trunk.width * visible + trunk.layers * wave
