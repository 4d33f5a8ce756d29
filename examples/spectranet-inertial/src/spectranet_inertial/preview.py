"""How do recordings look to people: facts of a file, and a drawing of what the transform made of it?

Shape suffixes: T steps, U steps at the configured rate, N patches, C channels, H rows and W columns of a
picture.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from spectranet import Preview, Values
from spectranet_inertial.config import InertialConfig
from spectranet_inertial.recording import Recording

__all__ = ["describe", "preview"]

_SMALLEST_RANGE = (0.98 * 2 * 9.80665, 0.98 * np.deg2rad(250.0))
"""±2 g and ±250 °/s are the narrowest ranges of common sensors: what is below them saturates none."""
_IN_A_ROW = 3
"""Equal extreme values that count as saturation."""
_WIDTH, _BAND = 420, 64
_LINES = np.array([[214, 64, 64], [40, 150, 80], [33, 102, 196]], dtype=np.float32)
_PAPER, _VEIL = np.full(3, 255, dtype=np.float32), np.array([214, 64, 140], dtype=np.float32)


def describe(config: InertialConfig, raw: Recording) -> Mapping[str, float]:
    """Length, rate, mean length of the acceleration (9.8 at rest; near 1 means that a file is in g), and
    how much of it is saturated."""
    rate_hz = raw.rate_hz(config.npy_rate_hz)
    duration_s = len(raw.signal_TC) / rate_hz
    return {
        "duration_s": duration_s,
        "rate_hz": rate_hz,
        "mean_acceleration_ms2": float(np.linalg.norm(raw.signal_TC[:, :3], axis=1).mean()),
        "saturated_percent": 100 * float(saturated(raw.signal_TC).mean()),
        "cropped_to_max_seconds_share": float(duration_s > config.max_seconds),
    }


def saturated(signal_TC: np.ndarray) -> np.ndarray:
    """bool (T,): steps at which some channel stays at its own extreme, beyond the narrowest range of
    sensors."""
    size_TC = np.abs(signal_TC)
    extreme_TC = (size_TC >= size_TC.max(axis=0)) & (size_TC >= np.repeat(_SMALLEST_RANGE, 3))
    steps_T = np.zeros(len(signal_TC), dtype=bool)
    for place in range(len(signal_TC) - _IN_A_ROW + 1):
        row = slice(place, place + _IN_A_ROW)
        steps_T[row] |= extreme_TC[row].all(axis=0).any()
    return steps_T


def preview(config: InertialConfig, values: Values, hidden_N: np.ndarray) -> Sequence[Preview]:
    """Acceleration above rotation, x red, y green, z blue; hidden patches under a veil."""
    patches = np.asarray(values.data["patches"], dtype=np.float32)
    signal_UC = patches.reshape(-1, patches.shape[-1])
    column_W = np.arange(_WIDTH)
    picture = np.concatenate([_drawn(signal_UC[:, :3]), _drawn(signal_UC[:, 3:])])
    veil_W = hidden_N[column_W * len(hidden_N) // _WIDTH]
    picture[:, veil_W] = 0.6 * picture[:, veil_W] + 0.4 * _VEIL
    return [Preview("image", _png(picture.astype(np.uint8)))]


def _drawn(signal_U3: np.ndarray) -> np.ndarray:
    """float32 (H, W, 3): three lines over each other, as tall as the largest of them."""
    scale = max(float(np.abs(signal_U3).max(initial=0.0)), 0.05)
    place_W = np.linspace(0, len(signal_U3) - 1, _WIDTH + 1)
    row_H = np.arange(_BAND)[:, None]
    picture = np.tile(_PAPER, (_BAND, _WIDTH, 1))
    picture[_BAND // 2] = 225
    for axis_U, colour in zip(signal_U3.T, _LINES, strict=True):
        height_W = (_BAND / 2 - 1) * (1 - np.interp(place_W, np.arange(len(axis_U)), axis_U) / scale)
        top_W, bottom_W = np.minimum(height_W[:-1], height_W[1:]), np.maximum(height_W[:-1], height_W[1:])
        picture[(row_H >= np.floor(top_W)) & (row_H <= np.ceil(bottom_W))] = colour
    return picture


def _png(pixels_HWC: np.ndarray) -> bytes:
    """An 8-bit RGB PNG, rows unfiltered (W3C PNG, third edition): a whole image library for one drawing is
    much."""
    height, width, _ = pixels_HWC.shape

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = np.pad(pixels_HWC.reshape(height, -1), ((0, 0), (1, 0))).tobytes()
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
