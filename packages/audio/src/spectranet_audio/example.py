"""A small sound to show and to test with."""

from __future__ import annotations

import io

import numpy as np
import soundfile

from spectranet_audio.frames import SAMPLE_RATE

__all__ = ["example"]


def example(rng: np.random.Generator) -> bytes:
    """A 16-bit WAV of 0.4 to 1.2 s: a gliding tone with an overtone over faint noise."""
    time_s = np.arange(int(rng.uniform(0.4, 1.2) * SAMPLE_RATE)) / SAMPLE_RATE
    pitch_hz = rng.uniform(120, 800) * np.exp(rng.uniform(-1, 1) * time_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE
    sound = 0.4 * np.sin(phase) + 0.2 * np.sin(2 * phase) + 0.01 * rng.standard_normal(len(phase))
    file = io.BytesIO()
    soundfile.write(file, sound.astype(np.float32), SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()
