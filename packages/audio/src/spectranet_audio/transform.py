"""From a recording to arrays for the encoder, and batches of them.

Shape suffixes: B samples, T samples of a waveform, N frames, P coordinates, M mel bins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spectranet import Values
from spectranet_audio.config import AudioConfig
from spectranet_audio.features import mel_target
from spectranet_audio.frames import FRAMES_PER_SEGMENT, SAMPLE_RATE, WINDOW, frame_count
from spectranet_audio.recording import Sound

__all__ = ["AudioTransform", "build_transform", "collate", "largest"]

_VARIANCE_FLOOR = 1e-7  # as transformers' Wav2Vec2FeatureExtractor


@dataclass(frozen=True)
class AudioTransform:
    """Crop, normalise, augment in training, and take the log-mel target from the result.

    The target comes from the very waveform that the encoder gets, augmentation included. Each
    augmentation draws from the generator only where it is on.
    """

    config: AudioConfig
    train: bool

    def __call__(self, sound: Sound, rng: np.random.Generator) -> Values:
        """A recording, or float32 (T,) at 16 kHz, to ``waveform`` (T,) and ``mel`` (N, M).

        Of a recording only the span that is kept is decoded.
        """
        waveform_T = self._crop(sound, rng)
        if self.config.normalise:
            waveform_T = waveform_T - waveform_T.mean()
            waveform_T /= np.sqrt(np.square(waveform_T).mean() + _VARIANCE_FLOOR)
        if self.train:
            waveform_T = self._augment(waveform_T, rng)
        if len(waveform_T) < WINDOW:
            waveform_T = np.pad(waveform_T, (0, WINDOW - len(waveform_T)))
        waveform_T = waveform_T.astype(np.float32, copy=False)
        frame_N = np.arange(frame_count(len(waveform_T)), dtype=np.int32)
        return Values(
            data={"waveform": waveform_T, "mel": mel_target(waveform_T, self.config.mel_bins)},
            position_NP=frame_N[:, None],
            segment_N=frame_N // FRAMES_PER_SEGMENT,
        )

    def _crop(self, sound: Sound, rng: np.random.Generator) -> np.ndarray:
        surplus = len(sound) - self._longest
        if surplus <= 0:
            return sound[:]
        start = int(rng.integers(surplus + 1)) if self.train else surplus // 2
        return sound[start : start + self._longest]

    @property
    def _longest(self) -> int:
        return int(self.config.max_seconds * SAMPLE_RATE)

    def _augment(self, waveform_T: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        config = self.config
        if config.shift_ms > 0:
            most = round(config.shift_ms * SAMPLE_RATE / 1000)
            later = int(rng.integers(-most, most + 1))
            # A shift to an earlier start never takes more than half the clip.
            start = min(max(-later, 0), len(waveform_T) // 2)
            waveform_T = np.pad(waveform_T[start:], (max(later, 0), 0))[: self._longest]
        if config.gain_db > 0:
            waveform_T = waveform_T * 10 ** (rng.uniform(-config.gain_db, config.gain_db) / 20)
        if config.noise > 0:
            level = rng.uniform(0, config.noise) * np.sqrt(np.mean(waveform_T**2))
            waveform_T = waveform_T + level * rng.standard_normal(len(waveform_T), dtype=np.float32)
        return waveform_T


def build_transform(config: AudioConfig, train: bool) -> AudioTransform:
    return AudioTransform(config, train)


def largest(config: AudioConfig) -> Values:
    """Silence of ``max_seconds``."""
    silence_T = np.zeros(int(config.max_seconds * SAMPLE_RATE), dtype=np.float32)
    return AudioTransform(config, train=False)(silence_T, np.random.default_rng(0))


def collate(samples: list[Mapping[str, np.ndarray]]) -> dict[str, Tensor]:
    """``waveform`` (B, T) and ``mel`` (B, N, M), zeros at the end; ``samples`` (B,) int64 lengths."""
    batch, bins = len(samples), samples[0]["mel"].shape[1]
    waveform_BT = np.zeros((batch, max(len(sample["waveform"]) for sample in samples)), dtype=np.float32)
    mel_BNM = np.zeros((batch, max(len(sample["mel"]) for sample in samples), bins), dtype=np.float32)
    for row, sample in enumerate(samples):
        waveform_BT[row, : len(sample["waveform"])] = sample["waveform"]
        mel_BNM[row, : len(sample["mel"])] = sample["mel"]
    lengths = [len(sample["waveform"]) for sample in samples]
    return {
        "waveform": torch.from_numpy(waveform_BT),
        "mel": torch.from_numpy(mel_BNM),
        "samples": torch.tensor(lengths, dtype=torch.int64),
    }
