"""What this package brings to SpectraNet. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spectranet import Objective, Task, hookimpl, lazy
from spectranet_objectives.check import find_problems
from spectranet_objectives.config import (
    CaptioningConfig,
    ContrastiveConfig,
    MmmConfig,
    RetrievalConfig,
    TemporalConfig,
)

__all__ = [
    "CAPTIONING",
    "CONTRASTIVE",
    "MMM",
    "RETRIEVAL",
    "TEMPORAL",
    "spectranet_check_config",
    "spectranet_objectives",
    "spectranet_tasks",
]

MMM = Objective("mmm", MmmConfig, lazy("spectranet_objectives.mmm:build"))
CONTRASTIVE = Objective(
    "contrastive", ContrastiveConfig, lazy("spectranet_objectives.contrastive:build"), needs_global_batch=True
)
TEMPORAL = Objective(
    "temporal", TemporalConfig, lazy("spectranet_objectives.temporal:build"), needs_global_batch=True
)
CAPTIONING = Objective("captioning", CaptioningConfig, lazy("spectranet_objectives.captioning:build"))

RETRIEVAL = Task(
    "retrieval",
    RetrievalConfig,
    metrics=(
        "{source}/{a}-{b}/R@{k}",
        "{source}/{a}-{b}/chance",
        "{source}/{a}-{b}/chance@{k}",
        "{source}/{a}-{b}/median_rank",
        "{source}/{a}-{b}/candidates",
        "{source}/{a}-{b}/queries",
    ),
    evaluate=lazy("spectranet_objectives.retrieval:evaluate"),
    finetune_objective="contrastive",
)


@hookimpl
def spectranet_objectives() -> Iterable[Objective]:
    return [MMM, CONTRASTIVE, TEMPORAL, CAPTIONING]


@hookimpl
def spectranet_tasks() -> Iterable[Task]:
    return [RETRIEVAL]


@hookimpl
def spectranet_check_config(config: Any) -> Iterable[str]:
    return find_problems(config)
