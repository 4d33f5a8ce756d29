"""What can be set for inertial data, and which settings cannot work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from spectranet import option

__all__ = ["InertialConfig", "patch_steps", "patches_per_segment", "problems"]

HIGHEST_RATE_HZ = 1_000.0
LONGEST_S = 600.0
_WHOLE = 1e-6
"""How far from a whole number a quotient of two options may be."""


@dataclass
class InertialConfig:
    rate_hz: float = option(50.0, "every recording is resampled to this")
    npy_rate_hz: float = option(50.0, "sampling rate of NPY files that have no field 'time'")
    max_seconds: float = option(10.0, "longer ones are cropped: at random in training, else to the middle")
    patch_s: float = option(0.2, "span of a token")
    segment_s: float = option(1.0, "span of a time segment, whole patches")
    width: int = option(256, "width of the encoder")
    layers: int = option(4, "transformer layers")
    heads: int = option(4, "attention heads")
    mlp_hidden: int = option(1024, "hidden width of the MLP")
    rotation_deg: float = option(
        15.0, "training: both sensors are turned by up to this angle about any axis; 180: any orientation"
    )
    acceleration_noise_ms2: float = option(0.05, "training: standard deviation of white noise, in m/s²")
    rotation_noise_rads: float = option(0.01, "training: standard deviation of white noise, in rad/s")


def patch_steps(config: Any) -> int:
    """Steps of one patch."""
    return round(config.patch_s * config.rate_hz)


def patches_per_segment(config: Any) -> int:
    return round(config.segment_s / config.patch_s)


def problems(config: Any) -> Iterator[str]:
    """Sentences about settings that cannot work, none if all can.

    Args:
        config: an :class:`InertialConfig`, or OmegaConf's view of one.
    """

    def called(name: str) -> str:
        return f"modalities.inertial.{name} is {getattr(config, name)}"

    for name in ("rate_hz", "npy_rate_hz"):
        if not 1 <= getattr(config, name) <= HIGHEST_RATE_HZ:
            yield f"{called(name)}; it must be in 1 to {HIGHEST_RATE_HZ:g}."
    if not 0 < config.max_seconds <= LONGEST_S:
        yield f"{called('max_seconds')}; it must be in 0 to {LONGEST_S:g}."
    steps = config.patch_s * config.rate_hz
    if steps < 1 - _WHOLE or abs(steps - round(steps)) > _WHOLE:
        yield f"{called('patch_s')}; times rate_hz it must be a whole number of steps, not {steps:g}."
    if config.patch_s > 0:
        patches = config.segment_s / config.patch_s
        if patches < 1 - _WHOLE or abs(patches - round(patches)) > _WHOLE:
            yield f"{called('segment_s')}; it must be a whole number of patches of patch_s, not {patches:g}."
    if config.patch_s > config.max_seconds:
        yield f"{called('max_seconds')}, shorter than one patch ({config.patch_s} s)."
    for name in ("width", "layers", "heads", "mlp_hidden"):
        if getattr(config, name) < 1:
            yield f"{called(name)}; it must be at least 1."
    if config.heads >= 1 and config.width % config.heads:
        yield f"modalities.inertial.heads ({config.heads}) must divide width ({config.width})."
    if not 0 <= config.rotation_deg <= 180:
        yield f"{called('rotation_deg')}; it must be in 0 to 180."
    for name in ("acceleration_noise_ms2", "rotation_noise_rads"):
        if getattr(config, name) < 0:
            yield f"{called(name)}; it must not be negative."
