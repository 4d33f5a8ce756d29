"""What this package brings: the objectives ``recall`` and, over the global batch, ``match``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spectranet import Objective, hookimpl, lazy, option


@dataclass
class RecallConfig:
    weight: float = option(1.0, "weight of this objective in the total loss")
    modalities: list[str] = option([], "modalities that are asked for; empty: all")


@dataclass
class MatchConfig:
    weight: float = option(1.0, "weight of this objective in the total loss")
    width: int = option(8, "width of the joint space")
    scale: float = option(5.0, "factor of the similarities")


@hookimpl
def spectranet_objectives() -> Iterable[Objective]:
    return [
        Objective("recall", RecallConfig, lazy("spectranet_recall.recall:build")),
        Objective("match", MatchConfig, lazy("spectranet_recall.match:build"), needs_global_batch=True),
    ]
