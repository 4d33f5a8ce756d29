"""Sound: a waveform for each tone.

Shape suffix: S samples at ``RATE_HZ``, mono, in -1..1.
"""

from __future__ import annotations

import numpy as np
from scenes import PITCHES_HZ, Tone

__all__ = ["RATE_HZ", "play"]

RATE_HZ = 16_000


def play(scene: Tone, rng: np.random.Generator, duration_s: float | None = None) -> np.ndarray:
    """float32 (S,): the tone, a little off in pitch, loudness and length (0.8 to 1 s if not given)."""
    duration_s = duration_s or float(rng.uniform(0.8, 1.0))
    time_S = np.arange(int(duration_s * RATE_HZ)) / RATE_HZ
    progress_S = time_S / duration_s
    pitch_hz = PITCHES_HZ[scene.pitch] * 2 ** rng.uniform(-0.15, 0.15)
    frequency_S = pitch_hz * 2 ** (_glide(scene.pattern) * (progress_S - 0.5))
    phase_S = 2 * np.pi * (np.cumsum(frequency_S) / RATE_HZ + rng.uniform())
    wave_S = _timbre(scene.timbre, phase_S, float(frequency_S.max())) * _loudness(scene.pattern, progress_S)
    wave_S = 0.35 * wave_S / max(float(np.abs(wave_S).max()), 1e-3) + _noise(scene.noise, time_S, rng)
    return (wave_S * rng.uniform(0.7, 1.0)).astype(np.float32)


def _glide(pattern: str) -> float:
    """Octaves from beginning to end."""
    return {"rising tone": 0.8, "falling tone": -0.8}.get(pattern, 0.0)


def _loudness(pattern: str, progress_S: np.ndarray) -> np.ndarray:
    """0..1 over the course of the sound."""
    ends_S = np.clip(np.minimum(progress_S, 1 - progress_S) / 0.03, 0, 1)
    match pattern:
        case "trembling tone":
            return ends_S * (0.5 + 0.5 * np.sin(2 * np.pi * 9 * progress_S))
        case "swelling tone":
            return ends_S * progress_S**2
        case "short beep":
            return _beeps(progress_S, 1)
        case "pair of beeps":
            return _beeps(progress_S, 2)
        case "row of three beeps":
            return _beeps(progress_S, 3)
    return ends_S


def _beeps(progress_S: np.ndarray, count: int) -> np.ndarray:
    """``count`` beeps, each 0.14 of the whole, spread evenly."""
    onset_K = (np.arange(count) + 0.5) / count - 0.07
    since_SK = progress_S[:, None] - onset_K
    return np.clip(np.minimum(since_SK, 0.14 - since_SK) / 0.01, 0, 1).sum(1)


def _timbre(timbre: str, phase_S: np.ndarray, highest_hz: float) -> np.ndarray:
    """A voice as a sum of partials; those that would come near the Nyquist frequency are left out."""
    partials = {
        "pure": {1.0: 1.0},
        "hollow": {float(k): 1 / k for k in (1, 3, 5, 7)},
        "buzzing": {float(k): k**-0.5 for k in range(1, 9)},
        "ringing": {1.0: 1.0, 2.76: 0.8, 5.4: 0.5},
    }[timbre]
    wave_S = np.zeros_like(phase_S)
    for ratio, gain in partials.items():
        if ratio * highest_hz < 0.47 * RATE_HZ:
            wave_S += gain * np.sin(ratio * phase_S)
    return wave_S


def _noise(noise: str, time_S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    floor_S = rng.normal(0, 0.001, len(time_S))
    match noise:
        case "in silence":
            return floor_S
        case "over hiss":
            return floor_S + rng.normal(0, 0.06, len(time_S))
        case "over a hum":
            hum_S = np.sin(2 * np.pi * 55 * time_S + rng.uniform(0, 6)) + 0.5 * np.sin(
                2 * np.pi * 82.5 * time_S
            )
            return floor_S + 0.12 * hum_S
    raise ValueError(f"no noise {noise!r}")
