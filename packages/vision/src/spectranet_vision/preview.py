"""How do pictures and clips look to people: their sizes, and what the transform made of them?

Shape suffixes: T frames, C colours, S side, G patches along a side, N tokens.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from spectranet import Preview, Values
from spectranet_vision.config import ImageConfig, VideoConfig
from spectranet_vision.video_decode import Clip

__all__ = ["describe_image", "describe_video", "preview_image", "preview_video"]

_FRAME_SIDE = 112
"""Frames of a strip are about so large, in pixels: a strip is looked at as a whole."""
_LEAST_SIDE = 144
"""Smaller pictures are enlarged by a whole number, so that their pixels can be seen."""
_FRAMES_A_ROW = 8
_LOSSLESS_SIDE = 64
"""Pictures up to this side are shown as PNG: blocks of JPEG would pass for what the model sees."""
_VEIL = np.array([214, 64, 140], dtype=np.float32)
"""Magenta, which no photograph is full of."""


def describe_image(config: ImageConfig, raw: np.ndarray) -> Mapping[str, float]:
    """Size of a decoded picture, and whether it is smaller than the model's square."""
    height, width = raw.shape[:2]
    return _sizes(width, height, config.size)


def describe_video(config: VideoConfig, raw: Clip) -> Mapping[str, float]:
    """Size of the frames, length and frame rate of a clip that was opened."""
    facts = {"duration_s": raw.duration_s, "frames_per_s": 1 / raw.frame_s}
    return facts | _sizes(raw.width, raw.height, config.size)


def preview_image(config: ImageConfig, values: Values, hidden_N: np.ndarray) -> Sequence[Preview]:
    """The crop, with a veil over hidden patches."""
    pixels_CSS = values.data["pixels"]
    veiled_SSC = _veiled(pixels_CSS.transpose(1, 2, 0), hidden_N)
    return [_picture(_enlarged(veiled_SSC, _LEAST_SIDE), lossless=len(veiled_SSC) <= _LOSSLESS_SIDE)]


def preview_video(config: VideoConfig, values: Values, hidden_N: np.ndarray) -> Sequence[Preview]:
    """The frames side by side in rows of eight, with a veil over hidden tubelets."""
    frames_TCSS = values.data["frames"]
    steps = len(frames_TCSS) // config.tubelet
    frames = []
    for number, frame_CSS in enumerate(frames_TCSS):
        hidden = hidden_N.reshape(steps, -1)[number // config.tubelet]
        frame = Image.fromarray(_enlarged(_veiled(frame_CSS.transpose(1, 2, 0), hidden), _FRAME_SIDE))
        frame.thumbnail((_FRAME_SIDE, _FRAME_SIDE))
        frames.append(np.asarray(frame))
    return [_picture(_rows(frames), lossless=frames_TCSS.shape[-1] <= _LOSSLESS_SIDE)]


def _sizes(width: int, height: int, side: int) -> dict[str, float]:
    return {
        "width_px": width,
        "height_px": height,
        "smaller_than_size_share": float(min(width, height) < side),
    }


def _veiled(pixels_SSC: np.ndarray, hidden_N: np.ndarray) -> np.ndarray:
    """Hidden patches at a third of their contrast, tinted: what is lost can still be guessed at."""
    grid = round(len(hidden_N) ** 0.5)
    patch = pixels_SSC.shape[0] // grid
    hidden_SS = np.kron(hidden_N.reshape(grid, grid), np.ones((patch, patch), dtype=bool))
    tinted = 0.35 * pixels_SSC + 0.65 * _VEIL
    return np.where(hidden_SS[..., None], tinted, pixels_SSC).astype(np.uint8)


def _rows(frames: Sequence[np.ndarray]) -> np.ndarray:
    """uint8: frames from left to right and top to bottom, a thin white line between them."""
    side = frames[0].shape[0]
    across = min(len(frames), _FRAMES_A_ROW)
    down = -(-len(frames) // across)
    gap = 2
    sheet = np.full((down * (side + gap) - gap, across * (side + gap) - gap, 3), 255, dtype=np.uint8)
    for number, frame in enumerate(frames):
        top, left = (number // across) * (side + gap), (number % across) * (side + gap)
        sheet[top : top + side, left : left + side] = frame
    return sheet


def _enlarged(pixels_SSC: np.ndarray, least: int) -> np.ndarray:
    times = max(1, least // len(pixels_SSC))
    return pixels_SSC.repeat(times, axis=0).repeat(times, axis=1)


def _picture(pixels_HWC: np.ndarray, *, lossless: bool) -> Preview:
    file = io.BytesIO()
    Image.fromarray(pixels_HWC).save(file, "PNG" if lossless else "JPEG", quality=90)
    return Preview("image", file.getvalue())
