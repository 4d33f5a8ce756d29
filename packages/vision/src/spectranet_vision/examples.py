"""Encoded samples made from a generator, for tests and documentation: a disc on a coloured ground."""

from __future__ import annotations

import io

import av
import numpy as np
import simplejpeg

__all__ = ["jpeg_example", "mp4_example"]

_HEIGHT, _WIDTH = 96, 128
_FRAMES, _RATE = 16, 8


def jpeg_example(rng: np.random.Generator) -> bytes:
    """A JPEG of 128 by 96 pixels."""
    ground, ink = _colours(rng)
    return bytes(
        simplejpeg.encode_jpeg(_disc(ground, ink, rng.uniform(30, 98), rng.uniform(30, 66)), quality=90)
    )


def mp4_example(rng: np.random.Generator) -> bytes:
    """An MP4 of 128 by 96 pixels, two seconds at eight frames a second: the disc crosses the frame."""
    ground, ink = _colours(rng)
    start, end = rng.uniform(20, 108, 2)
    xs = np.linspace(start, end, _FRAMES)
    y = rng.uniform(30, 66)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=_RATE)
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1
        for x in xs:
            frame = av.VideoFrame.from_ndarray(_disc(ground, ink, x, y), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def _colours(rng: np.random.Generator) -> np.ndarray:
    """Two colours, uint8 (2, 3), far apart in every channel."""
    dark = rng.integers(0, 100, 3)
    return np.stack([dark, dark + 130]).astype(np.uint8)[rng.permutation(2)]


def _disc(ground: np.ndarray, ink: np.ndarray, x: float, y: float) -> np.ndarray:
    rows, columns = np.ogrid[:_HEIGHT, :_WIDTH]
    inside_HW = (rows - y) ** 2 + (columns - x) ** 2 < 18**2
    return np.where(inside_HW[..., None], ink, ground)
