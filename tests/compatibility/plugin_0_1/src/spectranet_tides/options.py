"""What can be set."""

from __future__ import annotations

from dataclasses import dataclass

from spectranet import option


@dataclass
class SeaOptions:
    width: int = option(32, "width of the network that gauges share")
    layers: int = option(1, "number of its blocks")


@dataclass
class TideOptions:
    patch: int = option(6, "readings in a token")
    most: int = option(48, "readings at most; longer series are cut")


@dataclass
class GuessOptions:
    weight: float = option(1.0, "weight of this objective in the total loss")


@dataclass
class AlignOptions:
    weight: float = option(0.5, "weight of this objective in the total loss")
    width: int = option(16, "width of the joint embedding")


@dataclass
class NearestOptions:
    most: int = option(100, "samples of a source at most")
