"""How do sounds look and sound to people: their lengths, and what the transform made of them?

Shape suffixes: T samples of a waveform, N frames, M mel bins, H rows and W columns of a picture.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import soundfile

from spectranet import Preview, Values
from spectranet_audio.config import AudioConfig
from spectranet_audio.features import mel_target
from spectranet_audio.frames import HOP, SAMPLE_RATE

__all__ = ["describe", "preview"]

_PEAK = 0.9
_WIDTH = 420
_WAVE_HEIGHT = 48
_LEAST_LEVEL = 1e-5
"""-100 dB of full scale: digital silence has no level of its own."""
_INK = np.array([33, 102, 196], dtype=np.float32)
_VEIL = np.array([214, 64, 140], dtype=np.float32)
_COLOURS = np.array(
    [[12, 10, 40], [70, 20, 110], [160, 45, 110], [235, 105, 60], [252, 190, 80], [252, 253, 210]],
    dtype=np.float32,
)
"""From quiet to loud."""


def describe(config: AudioConfig, raw: Any) -> Mapping[str, float]:
    """Length of a decoded sound, the level of its middle, and whether it is longer than the model hears.

    ``raw`` has a length and slices in samples at 16 kHz; only ``max_seconds`` of it are read.
    """
    longest = int(config.max_seconds * SAMPLE_RATE)
    start = max(0, len(raw) - longest) // 2
    middle_T = np.asarray(raw[start : start + longest], dtype=np.float64)
    level = float(np.sqrt(np.square(middle_T).mean()))
    return {
        "duration_s": len(raw) / SAMPLE_RATE,
        "level_db": float(20 * np.log10(max(level, _LEAST_LEVEL))),
        "cropped_to_max_seconds_share": float(len(raw) > longest),
    }


def preview(config: AudioConfig, values: Values, hidden_N: np.ndarray) -> Sequence[Preview]:
    """Waveform over log-mel frames, hidden ones under a veil, and the sound itself."""
    waveform_T = np.asarray(values.data["waveform"], dtype=np.float32)
    mel_NM = mel_target(waveform_T, config.mel_bins)
    frame_W = np.arange(_WIDTH) * len(mel_NM) // _WIDTH
    picture = np.concatenate([_drawn_wave(waveform_T[: len(mel_NM) * HOP]), _drawn_mel(mel_NM, frame_W)])
    veil_W = hidden_N[frame_W]
    picture[:, veil_W] = 0.45 * picture[:, veil_W] + 0.55 * _VEIL
    return [Preview("image", _png(picture.astype(np.uint8))), Preview("audio", _flac(waveform_T))]


def _drawn_wave(waveform_T: np.ndarray) -> np.ndarray:
    """float32 (H, W, 3): the span between lowest and highest sample of each column, on white."""
    peak = max(float(np.abs(waveform_T).max(initial=0.0)), 1e-9)
    columns = np.array_split(waveform_T, _WIDTH)
    high_W = np.array([part.max(initial=0.0) for part in columns]) / peak
    low_W = np.array([part.min(initial=0.0) for part in columns]) / peak
    level_H = np.linspace(1, -1, _WAVE_HEIGHT)[:, None]
    half = 1 / _WAVE_HEIGHT
    inside_HW = (level_H <= high_W + half) & (level_H >= low_W - half)
    white = np.full(3, 255, dtype=np.float32)
    return np.where(inside_HW[..., None], _INK, white)


def _drawn_mel(mel_NM: np.ndarray, frame_W: np.ndarray) -> np.ndarray:
    """float32 (H, W, 3): low pitches below; the quietest and loudest hundredth take the end colours."""
    low, high = np.percentile(mel_NM, [1, 99])
    level_HW = ((mel_NM[frame_W].T[::-1] - low) / max(high - low, 1e-6)).clip(0, 1)
    stops = np.linspace(0, 1, len(_COLOURS))
    channels = [np.interp(level_HW, stops, _COLOURS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def _flac(waveform_T: np.ndarray) -> bytes:
    """As loud as it gets without clipping: normalised clips have no level to be true to."""
    loudest = max(float(np.abs(waveform_T).max(initial=0.0)), 1e-9)
    file = io.BytesIO()
    soundfile.write(file, waveform_T * (_PEAK / loudest), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _png(pixels_HWC: np.ndarray) -> bytes:
    """An 8-bit RGB PNG (W3C PNG, third edition), rows unfiltered: the package needs no image library."""
    height, width, _ = pixels_HWC.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels_HWC)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )
