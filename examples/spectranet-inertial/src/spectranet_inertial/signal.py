"""From a recording to arrays for the encoder, and batches of them.

Shape suffixes: B samples, U steps at the configured rate, N patches (tokens), S steps of a patch, C the six
channels, P coordinates of a position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spectranet import DecodeError, Values
from spectranet_inertial.columns import STANDARD_GRAVITY
from spectranet_inertial.config import InertialConfig, patch_steps, patches_per_segment
from spectranet_inertial.recording import Recording
from spectranet_inertial.resampling import even, resample
from spectranet_inertial.turning import random_rotation, turn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SCALE_C", "InertialTransform", "build_transform", "collate", "largest", "sample_mask"]

SCALE_C = np.array([STANDARD_GRAVITY] * 3 + [2.0] * 3, dtype=np.float32)
"""What the channels are divided by: rest has acceleration 1, and a brisk swing of a limb rotation 1.

Constants, not statistics of the recording: the length and direction of gravity tell posture, and how
strong a movement is tells running from walking. Both would be normalised away.
"""
SPAN = 3
"""Patches that masking hides in a row: of one alone the neighbours tell nearly all."""


@dataclass(frozen=True)
class InertialTransform:
    """Crop, resample, turn and add noise in training, normalise, cut into patches."""

    config: InertialConfig
    train: bool

    def __call__(self, raw: Recording, rng: np.random.Generator) -> Values:
        """A recording to ``patches`` float32 (N, S, C), in units of :data:`SCALE_C`.

        Raises:
            DecodeError: it is shorter than one patch.
        """
        config = self.config
        signal_UC = self._at_rate(raw, rng)
        if self.train:
            signal_UC = self._augment(signal_UC, rng)
        length = patch_steps(config)
        patches = len(signal_UC) // length
        patch_N = np.arange(patches, dtype=np.int32)
        return Values(
            data={"patches": (signal_UC[: patches * length] / SCALE_C).reshape(patches, length, 6)},
            position_NP=patch_N[:, None],
            segment_N=patch_N // np.int32(patches_per_segment(config)),
        )

    def _at_rate(self, raw: Recording, rng: np.random.Generator) -> np.ndarray:
        """Whole patches at the configured rate, of the span that is kept."""
        config = self.config
        rate_hz = raw.rate_hz(config.npy_rate_hz)
        duration_s = len(raw.signal_TC) / rate_hz
        length = patch_steps(config)
        longest = int(config.max_seconds * config.rate_hz + 1e-6)
        steps = min(longest, int(duration_s * config.rate_hz + 1e-6)) // length * length
        if steps == 0:
            raise DecodeError(f"{duration_s:.3g} s are shorter than one patch of {config.patch_s} s")
        surplus_s = duration_s - steps / config.rate_hz
        start_s = surplus_s * (rng.random() if self.train else 0.5)
        start_s = round(start_s * rate_hz) / rate_hz  # on a step, so that equal rates need no filter
        signal_TC = raw.signal_TC if raw.time_T is None else even(raw.time_T, raw.signal_TC)
        return resample(signal_TC, rate_hz, config.rate_hz, start_s, steps)

    def _augment(self, signal_UC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Another way to wear the device, and another device."""
        config = self.config
        if config.rotation_deg > 0:
            signal_UC = turn(signal_UC, random_rotation(np.deg2rad(config.rotation_deg), rng))
        noise_C = np.repeat([config.acceleration_noise_ms2, config.rotation_noise_rads], 3)
        if noise_C.any():
            noise_UC = rng.standard_normal(signal_UC.shape, dtype=np.float32)
            signal_UC = signal_UC + noise_UC * noise_C.astype(np.float32)
        return signal_UC


def build_transform(config: InertialConfig, train: bool) -> InertialTransform:
    return InertialTransform(config, train)


def largest(config: InertialConfig) -> Values:
    """``max_seconds`` of a device that lies still."""
    steps = int(config.max_seconds * config.npy_rate_hz + 1) + 1
    still_TC = np.tile(np.array([0, 0, STANDARD_GRAVITY, 0, 0, 0], dtype=np.float32), (steps, 1))
    return InertialTransform(config, train=False)(Recording(still_TC, None), np.random.default_rng(0))


def collate(samples: list[Mapping[str, np.ndarray]]) -> dict[str, Tensor]:
    """``patches`` float32 (B, N, S, C), zeros after the end of the shorter ones."""
    import torch

    longest = max(len(sample["patches"]) for sample in samples)
    patches = np.zeros((len(samples), longest, *samples[0]["patches"].shape[1:]), dtype=np.float32)
    for row, sample in enumerate(samples):
        patches[row, : len(sample["patches"])] = sample["patches"]
    return {"patches": torch.from_numpy(patches)}


def sample_mask(values: Values, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Bool (N,), True at ``round(ratio * N)`` patches in spans of at most about :data:`SPAN`.

    At least one is hidden where there are two and the ratio is positive, and never all of them. Spans do not
    overlap, though one may follow another at once.
    """
    tokens = len(values.segment_N)
    if ratio <= 0 or tokens < 2:
        return np.zeros(tokens, dtype=bool)
    hidden = min(max(round(ratio * tokens), 1), tokens - 1)
    lengths = [len(part) for part in np.array_split(np.arange(hidden), -(-hidden // SPAN))]
    # Visible patches and spans in random order, each arrangement as likely.
    row = [[False]] * (tokens - hidden) + [[True] * length for length in lengths]
    return np.concatenate([row[place] for place in rng.permutation(len(row))])
