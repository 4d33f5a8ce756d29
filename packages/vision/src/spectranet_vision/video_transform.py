"""From an opened clip to what the model reads: which moments, which crop.

Shape suffixes: T frames, C colours, S side, N tokens, P coordinates.
"""

from __future__ import annotations

import numpy as np

from spectranet import Values
from spectranet_vision.config import VideoConfig
from spectranet_vision.crop import Crop, centre_crop, cut, random_crop
from spectranet_vision.video_decode import Clip

__all__ = ["VideoTransform", "choose_moments", "largest_video"]


class VideoTransform:
    """Frames at even distances, all cut alike, at the model's size, still uint8.

    Training starts at random and crops at random, evaluation takes the middle. Gives ``{"frames":
    uint8 (T, 3, S, S)}``; a token is a tubelet, its position is (step, row, column), its segment the
    step. Raises ``DecodeError`` where the clip turns out to be damaged.
    """

    def __init__(self, config: VideoConfig, train: bool) -> None:
        self.config = config
        self.train = train
        grid, steps = config.size // config.patch_size, config.frames // config.tubelet
        self._position_NP = np.indices((steps, grid, grid), dtype=np.int32).reshape(3, -1).T.copy()

    def __call__(self, raw: Clip, rng: np.random.Generator) -> Values:
        c = self.config
        moments_s = choose_moments(raw.duration_s, c.frames, c.span_s, rng if self.train else None)
        frames: list[np.ndarray] = []
        for frame_HWC in raw.frames_at(moments_s):
            if not frames:
                crop = self._choose_crop(frame_HWC.shape[0], frame_HWC.shape[1], rng)
            frames.append(cut(frame_HWC, crop, c.size))
        return self.values(np.stack(frames))

    def values(self, frames_T3SS: np.ndarray) -> Values:
        """Frames of the model's size and number, with the place of each tubelet."""
        return Values({"frames": frames_T3SS}, self._position_NP.copy(), self._position_NP[:, 0].copy())

    def _choose_crop(self, height: int, width: int, rng: np.random.Generator) -> Crop:
        c = self.config
        if self.train:
            return random_crop(height, width, c.crop_scale_min, c.crop_aspect_max, c.flip, rng)
        return centre_crop(height, width)


def largest_video(config: VideoConfig) -> Values:
    """A black clip: all are of one size."""
    shape = (config.frames, 3, config.size, config.size)
    return VideoTransform(config, train=False).values(np.zeros(shape, dtype=np.uint8))


def choose_moments(
    duration_s: float, count: int, span_s: float | None, rng: np.random.Generator | None
) -> list[float]:
    """``count`` moments at even distances within ``span_s`` seconds, or the clip if that is shorter.

    With a generator the span starts anywhere it fits and the moments are shifted together inside
    their intervals; without one both are in the middle.
    """
    span_s = duration_s if span_s is None else min(span_s, duration_s)
    where, shift = (0.5, 0.5) if rng is None else rng.random(2)
    start_s = (duration_s - span_s) * where
    return [float(start_s + (index + shift) * span_s / count) for index in range(count)]
