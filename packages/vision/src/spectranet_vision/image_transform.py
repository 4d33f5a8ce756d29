"""From a decoded picture to what the model reads."""

from __future__ import annotations

import numpy as np

from spectranet import Values
from spectranet_vision.config import ImageConfig
from spectranet_vision.crop import centre_crop, cut, random_crop

__all__ = ["ImageTransform", "largest_image"]


class ImageTransform:
    """A crop of the picture at the model's size, still uint8; the model normalises it.

    Training takes a random crop, evaluation the centre. Gives ``{"pixels": uint8 (3, S, S)}``; a
    token is a patch, its position is (row, column), and there is no time.
    """

    def __init__(self, config: ImageConfig, train: bool) -> None:
        self.config = config
        self.train = train
        grid = config.size // config.patch_size
        self._position_NP = np.indices((grid, grid), dtype=np.int32).reshape(2, -1).T.copy()
        self._segment_N = np.full(grid * grid, -1, dtype=np.int32)
        for shared_by_all in (self._position_NP, self._segment_N):
            shared_by_all.setflags(write=False)

    def __call__(self, raw: np.ndarray, rng: np.random.Generator) -> Values:
        height, width = raw.shape[:2]
        c = self.config
        if self.train:
            crop = random_crop(height, width, c.crop_scale_min, c.crop_aspect_max, c.flip, rng)
        else:
            crop = centre_crop(height, width)
        return self.values(cut(raw, crop, c.size))

    def values(self, pixels_3SS: np.ndarray) -> Values:
        """Pixels of the model's size, with the place of each patch."""
        return Values({"pixels": pixels_3SS}, self._position_NP, self._segment_N)


def largest_image(config: ImageConfig) -> Values:
    """A black picture: all are of one size."""
    return ImageTransform(config, train=False).values(np.zeros((3, config.size, config.size), dtype=np.uint8))
