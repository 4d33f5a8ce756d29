"""What can be set, and which settings cannot work. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from spectranet import option

__all__ = ["InertialConfig", "problems"]


@dataclass
class InertialConfig:
    """Set as `modalities.inertial.width=512`. Every option needs a default and a line of help."""

    channels: int = option(4, "numbers at each time step")
    max_steps: int = option(512, "longer series are cropped: at random in training, else to the middle")
    patch: int = option(8, "time steps of a token")
    segment: int = option(4, "tokens of a time segment, the unit of temporal coherence")
    noise: float = option(0.05, "training: noise is added, of this share of the series' spread; 0: none")
    width: int = option(256, "width of the encoder")
    layers: int = option(4, "transformer layers")
    heads: int = option(4, "attention heads")
    mlp_hidden: int = option(1024, "hidden width of the MLP")


def problems(config: Any) -> Iterator[str]:
    """A sentence about each setting that cannot work; training then does not start.

    Args:
        config: a :class:`InertialConfig`, or OmegaConf's view of one.
    """
    for name in ("channels", "max_steps", "patch", "segment", "width", "layers", "heads", "mlp_hidden"):
        if getattr(config, name) < 1:
            yield f"modalities.inertial.{name} is {getattr(config, name)}; it must be at least 1."
    if config.noise < 0:
        yield f"modalities.inertial.noise is {config.noise}; it must not be negative."
    if config.heads > 0 and config.width % config.heads:
        yield f"modalities.inertial.heads ({config.heads}) must divide width ({config.width})."
