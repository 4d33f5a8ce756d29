"""From the steps of a file to regular ones at another rate, without folding fast motion into slow.

Shape suffixes: T steps of the file, U steps that are asked for, K taps of the kernel, C channels.
"""

from __future__ import annotations

import numpy as np

__all__ = ["even", "resample"]

_ZERO_CROSSINGS = 16
"""Of the kernel, on either side."""
_KAISER_BETA = 8.0
"""About -80 dB outside the band, which ends within 0.16 of the Nyquist frequency around the cut-off."""
_CUT_OFF = 0.85
"""Of the lower Nyquist frequency: up to 17 Hz of 50 Hz pass, more than bodies move with."""
_JITTER = 0.05
"""Of a step: time stamps nearer than this to a regular grid count as regular."""
_SAME_RATE = 1e-3


def even(time_T: np.ndarray, signal_TC: np.ndarray) -> np.ndarray:
    """The signal at as many steps of equal length, linear between its own, where those are irregular."""
    grid_T = np.linspace(time_T[0], time_T[-1], len(time_T))
    step_s = (time_T[-1] - time_T[0]) / (len(time_T) - 1)
    if np.abs(time_T - grid_T).max() <= _JITTER * step_s:
        return signal_TC
    channels = [np.interp(grid_T, time_T, channel_T) for channel_T in signal_TC.T]
    return np.stack(channels, axis=1).astype(signal_TC.dtype)


def resample(
    signal_TC: np.ndarray, rate_hz: float, target_hz: float, start_s: float, steps: int
) -> np.ndarray:
    """The signal at ``start_s + u / target_hz`` seconds, float32 (U, C).

    A sum over neighbours weighted by a Kaiser-windowed sinc, band-limited to the lower of the two rates
    (Smith and Gossett 1984, "A flexible sampling-rate conversion method"). The weights of a step are
    divided by their sum, so that a constant, such as gravity, stays what it is, also at the ends.
    """
    first = start_s * rate_hz
    if abs(target_hz / rate_hz - 1) < _SAME_RATE and abs(first - round(first)) < _JITTER:
        index_U = np.clip(round(first) + np.arange(steps), 0, len(signal_TC) - 1)
        return signal_TC[index_U].astype(np.float32, copy=False)
    place_U = first + np.arange(steps) * (rate_hz / target_hz)
    band = _CUT_OFF * min(1.0, target_hz / rate_hz)
    half = _ZERO_CROSSINGS / band
    index_UK = np.floor(place_U)[:, None].astype(np.int64) + np.arange(-int(half), int(half) + 2)
    away_UK = index_UK - place_U[:, None]
    window_UK = np.i0(_KAISER_BETA * np.sqrt(np.clip(1 - (away_UK / half) ** 2, 0, None)))
    inside_UK = (index_UK >= 0) & (index_UK < len(signal_TC)) & (np.abs(away_UK) <= half)
    weight_UK = np.where(inside_UK, np.sinc(band * away_UK) * window_UK, 0.0)
    weight_UK /= weight_UK.sum(axis=1, keepdims=True)
    taps_UKC = signal_TC[np.clip(index_UK, 0, len(signal_TC) - 1)]
    return np.einsum("uk,ukc->uc", weight_UK, taps_UKC).astype(np.float32)
