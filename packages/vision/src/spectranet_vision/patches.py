"""Pixels as tokens: cut into patches, and brought to the scale that networks expect.

Shape suffixes: B samples, T frames, N tokens, C components of a patch (colour, time, row, column).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["PatchNorm", "patchify", "tubelets"]

_STATISTICS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


def patchify(pixels_B3SS: Tensor, patch: int) -> Tensor:
    """(B, 3, S, S) gives (B, N, 3 * patch * patch), in the order of a convolution's weight."""
    return tubelets(pixels_B3SS.unsqueeze(1), patch, 1)


def tubelets(frames_BT3SS: Tensor, patch: int, depth: int) -> Tensor:
    """(B, T, 3, S, S) gives (B, N, 3 * depth * patch * patch); N runs over step, row, column."""
    b, t, c, s, _ = frames_BT3SS.shape
    grid = s // patch
    cut = frames_BT3SS.reshape(b, t // depth, depth, c, grid, patch, grid, patch)
    return cut.permute(0, 1, 4, 6, 3, 2, 5, 7).reshape(b, -1, c * depth * patch * patch)


class PatchNorm(nn.Module):
    """``(pixels / 255 - mean) / deviation`` on uint8 patches, in fp32.

    Runs on the device, on the patches that are used: batches travel as bytes.
    """

    scale_C: Tensor
    shift_C: Tensor

    def __init__(self, normalisation: str, components: int) -> None:
        super().__init__()
        self.normalisation = normalisation
        self.register_buffer("scale_C", torch.empty(components), persistent=False)
        self.register_buffer("shift_C", torch.empty(components), persistent=False)

    def init_weights(self) -> None:
        mean, deviation = _STATISTICS[self.normalisation]
        each = len(self.scale_C) // 3
        for colour in range(3):
            of_colour = slice(colour * each, (colour + 1) * each)
            self.scale_C[of_colour] = 1 / (255 * deviation[colour])
            self.shift_C[of_colour] = -mean[colour] / deviation[colour]

    def forward(self, patches_BNC: Tensor) -> Tensor:
        return torch.addcmul(self.shift_C, patches_BNC.float(), self.scale_C)
