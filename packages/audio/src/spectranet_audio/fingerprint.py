"""A 64-bit hash of a sound that survives loudness, lossy coding and resampling.

The log-mel spectrogram is brought to 32 steps in time whatever the clip's length, and the signs of
its lowest 8 by 8 cosine coefficients are the bits (the perceptual hash of pictures, on a
spectrogram). Peak-based fingerprints need about 3 s of sound; this one works on a spoken word.
Version 1: a change of anything here changes stored hashes.
"""

from __future__ import annotations

import numpy as np

from spectranet_audio.features import log_mel
from spectranet_audio.frames import WINDOW

__all__ = ["fingerprint"]

_SIDE = 8
_STEPS = 32
_BANDS = 32
_DEAD_ZONE = 0.05
"""Coefficients this close to zero (nepers a cell) carry no sign worth keeping; their bit is 0."""


def fingerprint(waveform_T: np.ndarray) -> int:
    """64-bit hash of a float32 (T,) waveform at 16 kHz; near duplicates differ in few bits."""
    waveform_T = np.pad(waveform_T, (0, max(0, WINDOW - len(waveform_T))))
    level = float(np.sqrt(np.mean(np.square(waveform_T, dtype=np.float64))))
    picture = log_mel(waveform_T / max(level, 1e-8), _BANDS)
    ends = np.linspace(0, len(picture) - 1, _STEPS)
    squeezed = np.stack([np.interp(ends, np.arange(len(picture)), band) for band in picture.T])
    # The row of frequency 0 is left out: loudness and its course over time stand there.
    coefficients = _cosines(_BANDS, 1) @ squeezed @ _cosines(_STEPS, 0).T / squeezed.size
    bits = (coefficients > _DEAD_ZONE).ravel()
    return sum(1 << place for place, bit in enumerate(bits) if bit)


def _cosines(size: int, first: int) -> np.ndarray:
    """Rows ``first`` to ``first + 8`` of the cosine transform (DCT-II), (8, size)."""
    frequency = np.arange(first, first + _SIDE)[:, None]
    return np.cos(np.pi * frequency * (np.arange(size) + 0.5) / size)
