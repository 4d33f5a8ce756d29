"""Problems of the objectives' and tasks' options that no schema can see, a sentence each.

Imports no torch: these are told before anything is built.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from spectranet_objectives.config import CONTRASTIVE_LOSSES, SAME_CONTENT_POLICIES

__all__ = ["find_problems", "nothing_to_write"]


def find_problems(config: Any) -> list[str]:
    """All problems of a merged configuration, in the order of the objectives."""
    known = _modalities(config)
    checks: dict[str, Callable[[Any], Iterator[str]]] = {
        "mmm": partial(_check_mmm, known=known),
        "contrastive": _check_contrastive,
        "temporal": _check_temporal,
        "captioning": partial(_check_captioning, known=known, trained=_of_sources(config.data.sources)),
    }
    problems: list[str] = []
    for name in sorted(checks.keys() & config.objectives.keys()):
        options = config.objectives[name]
        if options.weight < 0:
            problems.append(f"objectives.{name}.weight is {options.weight}; it must be 0 or more.")
        problems.extend(checks[name](options))
    if "retrieval" in config.tasks:
        problems.extend(_check_retrieval(config.tasks["retrieval"], set(config.objectives)))
    return problems


def _modalities(config: Any) -> set[str]:
    """Names that mean a modality here: of loaded plugins, and those the sources name."""
    return {*config.modalities, *_of_sources(config.data.sources), *_of_sources(config.eval.sources)}


def _of_sources(sources: Mapping[str, Any]) -> set[str]:
    return {name for source in sources.values() for name in source.modalities}


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


def nothing_to_write(modality: str, trained: Iterable[str]) -> str:
    """Why captioning has nothing to do in a run on these modalities."""
    return (
        f"objectives.captioning.modality is '{modality}', which no training source has; they have"
        f" {', '.join(sorted(trained))}.\n  name another of discrete tokens, or leave it out:"
        "  objectives.captioning=null"
    )


def _check_captioning(options: Any, known: set[str], trained: set[str]) -> Iterator[str]:
    meant = _near_miss(options.modality, known)
    if meant:
        yield f"objectives.captioning.modality is '{options.modality}'. Did you mean '{meant}'?"
    elif trained and options.modality not in trained:
        yield nothing_to_write(options.modality, trained)
    if options.max_tokens is not None and options.max_tokens < 1:
        yield f"objectives.captioning.max_tokens is {options.max_tokens}; it must be at least 1, or null."


def _check_retrieval(options: Any, trained: set[str]) -> Iterator[str]:
    if options.objective not in trained:
        yield (
            f"tasks.retrieval compares the embeddings of the objective '{options.objective}', which is not"
            f" configured: add objectives.{options.objective}={{}}, name another in"
            " tasks.retrieval.objective, or drop the task: tasks.retrieval=null."
        )
    if not options.ks or min(options.ks) < 1:
        yield f"tasks.retrieval.ks is {list(options.ks)}; it must name cut-offs of 1 or more."
    if options.max_candidates is not None and options.max_candidates < 1:
        yield f"tasks.retrieval.max_candidates is {options.max_candidates}; it must be at least 1, or null."
    if options.save_examples < 0:
        yield f"tasks.retrieval.save_examples is {options.save_examples}; it must be 0 or more."
    if options.save_examples > 0 and not options.examples_path:
        yield "tasks.retrieval.save_examples needs a file: set tasks.retrieval.examples_path."
