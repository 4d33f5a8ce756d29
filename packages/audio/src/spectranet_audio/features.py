"""Log-mel frames aligned with the encoder's frames: what masked modelling predicts.

Frame i is taken from the samples [i * 320, i * 320 + 400), which are exactly those that the
encoder's frame i sees. 40 Hz a bin; triangles on Slaney's mel scale with Slaney's area norm, as
Whisper has them: on the HTK scale 80 bands at this window would leave some triangles empty.

Shape suffixes: T samples, N frames, W samples of a window, K frequency bins, M mel bins.
"""

from __future__ import annotations

import functools

import numpy as np

from spectranet_audio.frames import HOP, SAMPLE_RATE, WINDOW

__all__ = ["log_mel", "mel_target"]

_FLOOR = 1e-5
"""Power added before the logarithm: about -55 dB of white noise at unit variance."""
_LEAST_SPREAD = 1e-2


@functools.cache
def _window() -> np.ndarray:
    """Periodic Hann window."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


@functools.cache
def _filters(bins: int) -> np.ndarray:
    from torchaudio.functional import melscale_fbanks

    filters = melscale_fbanks(
        WINDOW // 2 + 1, 0.0, SAMPLE_RATE / 2, bins, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
    )
    return np.asarray(filters.numpy(), dtype=np.float32)


def log_mel(waveform_T: np.ndarray, bins: int) -> np.ndarray:
    """Natural logarithm of the mel power of each frame: float32 (N, M). Needs T >= 400."""
    frames_NW = np.lib.stride_tricks.sliding_window_view(waveform_T, WINDOW)[::HOP]
    spectrum_NK = np.fft.rfft(frames_NW * _window(), axis=-1)
    power_NK = (spectrum_NK.real**2 + spectrum_NK.imag**2).astype(np.float32)
    return np.log(power_NK @ _filters(bins) + _FLOOR)


def mel_target(waveform_T: np.ndarray, bins: int) -> np.ndarray:
    """Log-mel frames at zero mean and unit variance over the whole clip: float32 (N, M).

    Statistics of the clip rather than constants, so that the L1 loss means the same for every
    recording: about 0.8 for a prediction that knows nothing. Silence gives zeros.
    """
    mel_NM = log_mel(waveform_T, bins)
    return (mel_NM - mel_NM.mean()) / max(float(mel_NM.std()), _LEAST_SPREAD)
