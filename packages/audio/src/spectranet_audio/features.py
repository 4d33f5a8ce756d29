"""Log-mel frames aligned with the encoder's frames: what masked modelling predicts.

Frame i is taken from the samples [i * 320, i * 320 + 400), which are exactly those that the
encoder's frame i sees. 40 Hz a bin; triangles on Slaney's mel scale with Slaney's area norm, as
Whisper has them: on the HTK scale 80 bands at this window would leave some triangles empty.

Shape suffixes: T samples, N frames, W samples of a window, K frequency bins, M mel bins.
"""

from __future__ import annotations

import functools

import numpy as np
import torch

from spectranet_audio.frames import HOP, SAMPLE_RATE, WINDOW

__all__ = ["log_mel", "mel_target"]

_FLOOR = 1e-5
"""Power added before the logarithm: about -55 dB of white noise at unit variance."""
_LEAST_SPREAD = 1e-2


def log_mel(waveform_T: np.ndarray, bins: int) -> np.ndarray:
    """Natural logarithm of the mel power of each frame: float32 (N, M). Needs T >= 400.

    By torch, whose transform is twice as fast as numpy's and keeps to the threads of its worker.
    """
    waveform_T = np.require(waveform_T, np.float32, ["C", "W"])  # torch warns of what it must not write
    frames_NW = torch.from_numpy(waveform_T).unfold(0, WINDOW, HOP) * _window()
    spectrum_NK = torch.fft.rfft(frames_NW)
    power_NK = spectrum_NK.real.square().add_(spectrum_NK.imag.square())
    mel_NM: np.ndarray = (power_NK @ _filters(bins)).add_(_FLOOR).log_().numpy()
    return mel_NM


def mel_target(waveform_T: np.ndarray, bins: int) -> np.ndarray:
    """Log-mel frames at zero mean and unit variance over the whole clip: float32 (N, M).

    Statistics of the clip rather than constants, so that the L1 loss means the same for every
    recording: about 0.8 for a prediction that knows nothing. Silence gives zeros.
    """
    mel_NM = log_mel(waveform_T, bins)
    mel_NM -= mel_NM.mean()
    mel_NM /= max(float(np.sqrt(np.square(mel_NM).mean())), _LEAST_SPREAD)
    return mel_NM


@functools.cache
def _window() -> torch.Tensor:
    return torch.hann_window(WINDOW)  # periodic


@functools.cache
def _filters(bins: int) -> torch.Tensor:
    from torchaudio.functional import melscale_fbanks

    return melscale_fbanks(
        WINDOW // 2 + 1, 0.0, SAMPLE_RATE / 2, bins, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
    )
