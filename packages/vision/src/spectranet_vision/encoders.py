"""Images and video to tokens. Hidden patches are dropped before anything sees them (MAE).

Shape suffixes: B samples, N tokens, V visible tokens, P coordinates, D width, C components of a
patch, T time steps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spectranet import Encoded, ModalityBatch, gather_tokens, init_linear
from spectranet_vision.config import ImageConfig, VideoConfig
from spectranet_vision.patches import PatchNorm, patchify, tubelets
from spectranet_vision.trunk import VitTrunk

__all__ = ["ImageEncoder", "VideoEncoder"]


class ImageEncoder(nn.Module):
    """The trunk on the visible patches. It has no parameters of its own."""

    def __init__(self, config: ImageConfig, trunk: VitTrunk) -> None:
        super().__init__()
        self.width = trunk.width
        self.patch_size = config.patch_size
        self.pool = config.pool
        self.norm = PatchNorm(config.normalisation, 3 * config.patch_size**2)

    def init_weights(self) -> None:
        self.norm.init_weights()

    def forward(self, batch: ModalityBatch, trunk: VitTrunk) -> Encoded:
        pixels = batch.data["pixels"]
        visible_BVC = gather_tokens(patchify(pixels, self.patch_size), batch.visible_BV)
        position_BVP = gather_tokens(batch.position_BNP, batch.visible_BV)
        tokens_BVD = trunk.embed(self.norm(visible_BVC))
        grid = pixels.shape[-1] // self.patch_size
        summary_BD, tokens_BVD = trunk(tokens_BVD, _cells(position_BVP, grid), grid, _padding(batch))
        return _encoded(batch, tokens_BVD, summary_BD, position_BVP, self.pool)


class VideoEncoder(nn.Module):
    """The trunk on the visible tubelets, with an embedding and time positions of its own."""

    def __init__(self, config: VideoConfig, trunk: VitTrunk) -> None:
        super().__init__()
        self.width = trunk.width
        self.patch_size = config.patch_size
        self.tubelet = config.tubelet
        self.pool = config.pool
        components = 3 * config.tubelet * config.patch_size**2
        self.norm = PatchNorm(config.normalisation, components)
        self.project = nn.Linear(components, trunk.width)
        self.time_TD = nn.Parameter(torch.empty(config.frames // config.tubelet, trunk.width))

    def init_weights(self) -> None:
        self.norm.init_weights()
        init_linear(self.project)
        nn.init.trunc_normal_(self.time_TD, std=0.02)

    def forward(self, batch: ModalityBatch, trunk: VitTrunk) -> Encoded:
        frames = batch.data["frames"]
        visible_BVC = gather_tokens(tubelets(frames, self.patch_size, self.tubelet), batch.visible_BV)
        position_BVP = gather_tokens(batch.position_BNP, batch.visible_BV)
        patches_BVC = self.norm(visible_BVC).to(self.project.weight.dtype)
        tokens_BVD = self.project(patches_BVC) + F.embedding(position_BVP[..., 0], self.time_TD)
        grid = frames.shape[-1] // self.patch_size
        summary_BD, tokens_BVD = trunk(tokens_BVD, _cells(position_BVP, grid), grid, _padding(batch))
        return _encoded(batch, tokens_BVD, summary_BD, position_BVP, self.pool)


def _padding(batch: ModalityBatch) -> Tensor | None:
    """Which visible tokens are real; None where all are."""
    return None if bool(batch.host.visible_valid_BV.all()) else batch.visible_valid_BV


def _cells(position_BVP: Tensor, grid: int) -> Tensor:
    """Index into the picture's cells; row and column are the last two coordinates."""
    return (position_BVP[..., -2] * grid + position_BVP[..., -1]).long()


def _encoded(
    batch: ModalityBatch, tokens_BVD: Tensor, summary_BD: Tensor, position_BVP: Tensor, pool: str
) -> Encoded:
    valid_BV = batch.visible_valid_BV
    if pool == "class":
        pooled_BD = summary_BD
    else:
        # In fp32: bfloat16 cannot count beyond 256.
        counted_BV1 = valid_BV.unsqueeze(-1).float()
        mean_BD = (tokens_BVD.float() * counted_BV1).sum(1) / counted_BV1.sum(1).clamp_min(1)
        pooled_BD = mean_BD.to(tokens_BVD.dtype)
    segment_BV = gather_tokens(batch.segment_BN, batch.visible_BV)
    return Encoded(tokens_BVD, valid_BV, position_BVP, segment_BV, pooled_BD)
