"""What this package brings to SpectraNet. Imports no torch."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from spectranet import Objective, Task, hookimpl, lazy
from spectranet_objectives.config import (
    CONTRASTIVE_LOSSES,
    SAME_CONTENT_POLICIES,
    CaptioningConfig,
    ContrastiveConfig,
    MmmConfig,
    RetrievalConfig,
    TemporalConfig,
)

if TYPE_CHECKING:
    from spectranet.config import Config

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
def spectranet_check_config(config: Config) -> Iterable[str]:
    problems: list[str] = []
    known = _modalities(config)
    for name, check in (
        ("mmm", lambda options: _check_mmm(options, known)),
        ("contrastive", _check_contrastive),
        ("temporal", _check_temporal),
        ("captioning", lambda options: _check_captioning(options, known)),
    ):
        options = config.objectives.get(name)
        if options is not None:
            if options.weight < 0:
                problems.append(f"objectives.{name}.weight is {options.weight}; it must be 0 or more.")
            problems.extend(check(options))
    retrieval = config.tasks.get("retrieval")
    if retrieval is not None:
        problems.extend(_check_retrieval(retrieval, "contrastive" in config.objectives))
    return problems


def _modalities(config: Config) -> set[str]:
    """Names that mean a modality here: of loaded plugins, and those the sources name."""
    sources = (*config.data.sources.values(), *config.eval.sources.values())
    return {*config.modalities, *(name for source in sources for name in source.modalities)}


def _near_miss(name: str, known: set[str]) -> str | None:
    """The known modality that ``name`` seems to misspell.

    A name unlike any known one is let pass: presets speak of modalities whose plugin may be absent.
    """
    close = [] if name in known else difflib.get_close_matches(name, sorted(known), n=1)
    return close[0] if close else None


def _check_mmm(options: Any, known: set[str]) -> Iterator[str]:
    for kind, values in (("ratios", options.ratios), ("scales", options.scales)):
        for name in values:
            meant = _near_miss(str(name), known)
            if meant:
                yield f"objectives.mmm.{kind} names the modality '{name}'. Did you mean '{meant}'?"
    for name, ratio in options.ratios.items():
        if not 0 <= ratio <= 1:
            yield f"objectives.mmm.ratios.{name} is {ratio}; a share is between 0 and 1."
    for name, scale in options.scales.items():
        if scale < 0:
            yield f"objectives.mmm.scales.{name} is {scale}; it must be 0 or more."


def _check_contrastive(options: Any) -> Iterator[str]:
    for field, allowed in (("loss", CONTRASTIVE_LOSSES), ("same_content", SAME_CONTENT_POLICIES)):
        value = getattr(options, field)
        if value not in allowed:
            yield f"objectives.contrastive.{field} is '{value}'; it must be {' or '.join(allowed)}."
    if options.width < 1:
        yield f"objectives.contrastive.width is {options.width}; it must be at least 1."
    if options.scale_max <= 0:
        yield f"objectives.contrastive.scale_max is {options.scale_max}; it must be above 0."
    elif options.scale_init is not None and not 0 < options.scale_init <= options.scale_max:
        yield (
            f"objectives.contrastive.scale_init is {options.scale_init}; it must be above 0 and at most"
            f" scale_max, {options.scale_max}."
        )


def _check_temporal(options: Any) -> Iterator[str]:
    if options.margin < 2:
        yield (
            f"objectives.temporal.margin is {options.margin}; it must be at least 2, since the segment at"
            " distance 1 is the positive."
        )
    if options.width < 1:
        yield f"objectives.temporal.width is {options.width}; it must be at least 1."
    if options.temperature <= 0:
        yield f"objectives.temporal.temperature is {options.temperature}; it must be above 0."
    if options.variance_weight < 0:
        yield f"objectives.temporal.variance_weight is {options.variance_weight}; it must be 0 or more."
    if not 0 <= options.variance_floor <= 1:
        yield (
            f"objectives.temporal.variance_floor is {options.variance_floor}; it must be between 0 and 1,"
            " the spread of an even sphere."
        )


def _check_captioning(options: Any, known: set[str]) -> Iterator[str]:
    meant = _near_miss(options.modality, known)
    if meant:
        yield f"objectives.captioning.modality is '{options.modality}'. Did you mean '{meant}'?"
    if options.max_tokens is not None and options.max_tokens < 1:
        yield f"objectives.captioning.max_tokens is {options.max_tokens}; it must be at least 1, or null."


def _check_retrieval(options: Any, has_contrastive: bool) -> Iterator[str]:
    if not has_contrastive:
        yield (
            "tasks.retrieval compares the embeddings of the objective 'contrastive', which is not configured:"
            " add objectives.contrastive={}, or remove tasks.retrieval."
        )
    if not options.ks or min(options.ks) < 1:
        yield f"tasks.retrieval.ks is {list(options.ks)}; it must name cut-offs of 1 or more."
    if options.max_candidates is not None and options.max_candidates < 1:
        yield f"tasks.retrieval.max_candidates is {options.max_candidates}; it must be at least 1, or null."
    if options.save_examples < 0:
        yield f"tasks.retrieval.save_examples is {options.save_examples}; it must be 0 or more."
    if options.save_examples > 0 and not options.examples_path:
        yield "tasks.retrieval.save_examples needs a file: set tasks.retrieval.examples_path."
