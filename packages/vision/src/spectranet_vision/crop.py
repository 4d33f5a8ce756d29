"""Which rectangle of a picture does the model see, and at what size?

Shape suffixes: C colours, H height, W width, S side of the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

__all__ = ["Crop", "centre_crop", "cut", "random_crop"]

_ATTEMPTS = 10


@dataclass(frozen=True)
class Crop:
    """A rectangle in pixels, and whether it is mirrored."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool = False


def random_crop(
    height: int,
    width: int,
    scale_min: float,
    aspect_max: float,
    flip: bool,
    rng: np.random.Generator,
) -> Crop:
    """A rectangle of random area, shape and place (Szegedy et al. 2015, section 6).

    The area is uniform in ``[scale_min, 1]`` of the picture's, the aspect ratio log-uniform in
    ``[1 / aspect_max, aspect_max]``. Where none fits in ten attempts, the largest centred one of
    the nearest allowed shape.
    """
    mirrored = flip and bool(rng.random() < 0.5)
    # Ten attempts are one call: a call costs more than all that is drawn in it.
    for share, shape, down, right in rng.random((_ATTEMPTS, 4)).tolist():
        area = height * width * (scale_min + (1 - scale_min) * share)
        stretch = aspect_max ** (2 * shape - 1)
        w, h = round(math.sqrt(area * stretch)), round(math.sqrt(area / stretch))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(down * (height - h + 1)), int(right * (width - w + 1))
            return Crop(top, left, h, w, mirrored)
    h = min(height, max(1, round(width * aspect_max)))
    w = min(width, max(1, round(height * aspect_max)))
    return Crop((height - h) // 2, (width - w) // 2, h, w, mirrored)


def centre_crop(height: int, width: int) -> Crop:
    """The largest square in the middle.

    Resizing it is the same as resizing the short side and cutting the middle, up to the border
    pixels that the filter would have read, and touches fewer pixels.
    """
    side = min(height, width)
    return Crop((height - side) // 2, (width - side) // 2, side, side)


def cut(pixels_HWC: np.ndarray, crop: Crop, size: int) -> np.ndarray:
    """The rectangle, resized to ``size`` squared: uint8 (H, W, C) gives uint8 (C, S, S).

    Bicubic with antialias, on uint8 in channels-last memory, for which torch has the fast path:
    contiguous rows cost a copy of the crop and save a quarter of the time. The result stays
    channels-last in memory: the model cuts it into patches anyway.
    """
    part_HWC = pixels_HWC[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    # The axis of one picture comes first, not after permuting, or torch does not see the memory's order.
    part_1CHW = torch.from_numpy(np.ascontiguousarray(part_HWC)[None]).permute(0, 3, 1, 2)
    resized_1CSS = F.interpolate(part_1CHW, (size, size), mode="bicubic", antialias=True)
    if crop.mirrored:
        resized_1CSS = resized_1CSS.flip(-1)
    cut_CSS: np.ndarray = resized_1CSS[0].numpy()
    return cut_CSS
