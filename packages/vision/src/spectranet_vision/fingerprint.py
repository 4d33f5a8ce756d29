"""Do two pictures, or two clips, look alike? Hashes whose Hamming distance says so.

A difference hash: shrink, then note for each pixel whether its right neighbour is brighter
(Krawetz 2013, "Kind of Like That"). Hashes of other libraries differ, so store the version.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from spectranet_vision.video_decode import Clip

__all__ = ["FINGERPRINT_VERSION", "image_fingerprint", "video_fingerprint"]

FINGERPRINT_VERSION = "dhash64-pil-box-1"

_MOMENTS = (1 / 8, 3 / 8, 5 / 8, 7 / 8)


def image_fingerprint(pixels_HWC: np.ndarray) -> int:
    """Unsigned 64-bit difference hash of uint8 (H, W, 3), on a grid of 8 by 8."""
    return _difference_hash(pixels_HWC, 8)


def video_fingerprint(clip: Clip) -> int:
    """Unsigned 64-bit hash: 16 bits of each of four frames spread over the clip.

    Raises:
        DecodeError: the clip is damaged.
    """
    code = 0
    for frame_HWC in clip.frames_at([moment * clip.duration_s for moment in _MOMENTS]):
        code = code << 16 | _difference_hash(frame_HWC, 4)
    return code


def _difference_hash(pixels_HWC: np.ndarray, side: int) -> int:
    small = Image.fromarray(pixels_HWC).resize((side + 1, side), Image.Resampling.BOX).convert("L")
    grey_HW = np.asarray(small).astype(np.int16)
    bits = (grey_HW[:, 1:] > grey_HW[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
