"""The survey of all sources of a configuration."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from spectranet.config import Config, SourceConfig
from spectranet.contracts import Modality, Reader
from spectranet.data.build import build_pipelines, modality_config
from spectranet.data.failures import tally
from spectranet.data.pipeline import Pipeline
from spectranet.data.ratios import hidden_ratios
from spectranet.data.source import Source, open_sources
from spectranet.data.spread import spread
from spectranet.errors import ConfigError
from spectranet.report.media import Budget
from spectranet.report.numbers import count, percent
from spectranet.survey.figures import Figures, figures_of
from spectranet.survey.looking import Looks, look
from spectranet.survey.mixture import Seen, what_a_run_sees
from spectranet.survey.sheet import Card, sheet_of

__all__ = ["SourceSurvey", "Survey", "make_survey"]

_CARDS = 6
_PAGE_B = 24_000_000
"""Bytes of pictures and sounds on the page, over all sources."""


@dataclass(frozen=True)
class SourceSurvey:
    """What was found in one source.

    Attributes:
        held_out: whether it is one to evaluate on, prepared without augmentation and masks.
        found: fields that there are -> how many rows have each, None where the reader does not say.
        reasons: why samples failed: how often, and an example, the commonest first.
    """

    source: Source
    config: SourceConfig
    held_out: bool
    found: Mapping[str, int | None]
    parts: int
    looks: Looks
    figures: Figures
    cards: Sequence[Card]

    @property
    def name(self) -> str:
        return f"{self.source.name}{', held out' * self.held_out}"

    @property
    def reasons(self) -> list[tuple[int, str, str]]:
        """(count, key of an example, what is said of it)."""
        found = sorted(tally(self.looks.failed).values(), key=lambda each: -each.count)
        return [(each.count, each.example.key, each.example.reason) for each in found]

    def warnings(self, failure_limit: float) -> list[str]:
        name = f"{'held-out ' * self.held_out}source '{self.source.name}'"
        consequence = "evaluation leaves them out" if self.held_out else "a run may end"
        found = []
        if self.looks.failure_share > failure_limit:
            found.append(
                f"{name}: {count(len(self.looks.failed))} of {count(self.looks.rows)} samples cannot be used,"
                f" more than data.failure_limit ({percent(failure_limit)}) allows: {consequence}"
            )
        if self.source.broken:
            example, reason = next(iter(self.source.broken.items()))
            refused = self.source.is_too_broken(failure_limit)
            found.append(
                f"{name}: {len(self.source.broken)} of {self.parts} parts cannot be read whole"
                + f", more than data.failure_limit ({percent(failure_limit)}) allows: a run will not start"
                * refused
                + f"; '{example}': {reason}"
            )
        found += [
            f"{name}: modality '{modality}' cannot describe its samples: {reason}"
            for modality, reason in self.looks.undescribed.items()
        ]
        return found


@dataclass(frozen=True)
class Survey:
    """All sources, and the mixture that a run makes of them; None where no run is configured."""

    sources: Sequence[SourceSurvey]
    held_out: Sequence[SourceSurvey]
    seen: Seen | None
    warnings: Sequence[str]
    seconds: float


def make_survey(
    config: Config,
    modalities: Mapping[str, Modality],
    readers: Sequence[Reader],
    *,
    samples: int,
    for_a_run: bool = True,
    begin: Callable[[str], None] = lambda line: None,
) -> Survey:
    """Look at ``samples`` rows of each source, or at all where there are fewer.

    Args:
        for_a_run: whether the configuration is that of a run: its mixture means something, and its held-out
            sources are looked at as well.
        begin: told what is being done, for people who wait.

    Raises:
        ConfigError: a source cannot be opened, or an option not used; lists every problem.
        DataError: the storage does not answer.
        PluginError: a plugin breaks what it has promised.
    """
    began = time.monotonic()
    if not config.data.sources:
        raise ConfigError(
            "data.sources is empty: there is nothing to inspect\n"
            "  name a configuration:  spectranet data inspect --config mine.yaml\n"
            "  or data alone:         spectranet data inspect shards/{000..099}.tar"
        )
    held_out = config.eval.sources if for_a_run else {}
    begin(f"opening {', '.join([*config.data.sources, *held_out])}")
    # A few samples of each shard are looked at, so shards of object stores are read by ranges, never fetched.
    data = replace(config.data, cache_gib=0.0)
    trained_on = open_sources(config.data.sources, modalities, readers, data)
    evaluated_on = open_sources(held_out, modalities, readers, data, "eval")
    used = {name: modalities[name] for source in trained_on for name in source.modalities}
    pipelines = build_pipelines(trained_on, config, used, train=True, ratios=hidden_ratios(config, used))
    looking = partial(_survey_of, config=config, modalities=modalities, samples=samples, begin=begin)
    budget_B = _PAGE_B // len(trained_on)
    surveys = [looking(each, budget=Budget(budget_B)) for each in pipelines]
    pipelines = build_pipelines(evaluated_on, config, modalities, train=False, ratios={})
    surveys_held_out = [looking(each, budget=None) for each in pipelines]
    tokens = {each.source.name: each.figures.mean_tokens() for each in surveys}
    seen = what_a_run_sees(config, trained_on, tokens) if for_a_run else None
    found = [*surveys, *surveys_held_out]
    warnings = [line for each in found for line in each.warnings(config.data.failure_limit)]
    warnings += seen.warnings if seen else ()
    return Survey(surveys, surveys_held_out, seen, warnings, time.monotonic() - began)


def _survey_of(
    pipeline: Pipeline,
    budget: Budget | None,
    *,
    config: Config,
    modalities: Mapping[str, Modality],
    samples: int,
    begin: Callable[[str], None],
) -> SourceSurvey:
    """With ``budget`` for what is shown; a held-out source has none, as nothing is drawn at random of it."""
    source = pipeline.source
    begin(f"looking at {count(min(samples, len(source)))} of {count(len(source))} samples of {source.name}")
    options = {
        name: modality_config(modalities[name], config.modalities.get(name), source.overrides.get(name, {}))
        for name in source.modalities
    }
    rows = spread(len(source), samples)
    data = config.data
    looks = look(pipeline, modalities, options, rows, threads=data.threads, stall_s=data.stall_s)
    shown = [looks.usable[i] for i in spread(len(looks.usable), _CARDS)]
    return SourceSurvey(
        source=source,
        config=(config.data if budget else config.eval).sources[source.name],
        held_out=budget is None,
        found=_found(source),
        parts=len(source.parts),
        looks=looks,
        figures=figures_of(looks, source.modalities),
        cards=sheet_of(pipeline, modalities, options, shown, budget) if budget else (),
    )


def _found(source: Source) -> dict[str, int | None]:
    found = getattr(source.samples, "found", ())
    return dict(found) if isinstance(found, Mapping) else dict.fromkeys(found)
