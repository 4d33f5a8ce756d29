"""What do the training loop and the tasks iterate over?"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

from spectranet.config import Config
from spectranet.config.checks import data_problems
from spectranet.contracts import Modality, Reader
from spectranet.data.build import build_pipelines
from spectranet.data.collate import LoadedBatch, collate
from spectranet.data.corpus import describe_corpus
from spectranet.data.crew import Crew
from spectranet.data.failures import Failures, Skipped, as_percent, limit_that_accepts, worst
from spectranet.data.mixing import Mixture
from spectranet.data.pipeline import Pipeline, Prepared
from spectranet.data.schedule import Address, Schedule
from spectranet.data.source import Source, open_sources
from spectranet.data.spread import spread
from spectranet.data.worker_death import death, processes_started
from spectranet.data.workers import Addresses, MicroBatches, in_workers
from spectranet.errors import ConfigError, DataError, SpectraNetError, did_you_mean

__all__ = ["EvalData", "TrainStream"]

_log = logging.getLogger(__name__)

_FEW_BROKEN = 10
"""Broken shards that a refusal names."""


class TrainStream:
    """Iterates over steps; each gives the list of this rank's micro-batches.

    Any step costs the same to start at. The constructor starts the workers, which prepare the first
    batches meanwhile; they are forked, so the earlier it is constructed the less they inherit, and
    it must be in a thread that outlives them. :meth:`close`, and the end of the iteration, end them.

    Args:
        config: sections ``data``, ``train`` and ``modalities``.
        modalities: the loaded ones, by name.
        readers: the loaded ones; the first that takes a path opens it.
        ratios: share of the tokens of each modality to hide; nothing where it is absent.
        start_step: the first step to give.

    Attributes:
        corpus: what the order of the samples depends on, by source.
        failures: by source, for the steps given so far, on this rank alone.

    Raises:
        ConfigError: the configuration cannot be used; lists every problem found.
        DataError: while iterating: a source gives no usable sample any more, or a worker died.
    """

    def __init__(
        self,
        config: Config,
        modalities: Mapping[str, Modality],
        readers: Sequence[Reader],
        ratios: Mapping[str, float],
        *,
        start_step: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        _check(config)
        self.sources = open_sources(config.data.sources, modalities, readers, config.data)
        _refuse_broken(self.sources, config.data.failure_limit)
        self.schedule = _schedule(config, self.sources, ranks)
        self.corpus = describe_corpus(self.sources)
        self.failures = {source.name: Failures() for source in self.sources}
        if rank == 0:
            _report(self.sources)
        pipelines = build_pipelines(self.sources, config, modalities, train=True, ratios=ratios)
        self._rank = rank
        self._steps = range(start_step, config.train.steps)
        self._micro_batches = MicroBatches(pipelines, modalities, config.data.threads, config.data.stall_s)
        self._begun = False
        self._pipelines = pipelines
        with processes_started() as self._processes:
            self._batches: Iterator[LoadedBatch | SpectraNetError] | None = in_workers(
                self._micro_batches,
                Addresses(self.schedule, rank, self._steps),
                workers=config.data.workers,
                prefetch=config.data.prefetch,
            )

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[list[LoadedBatch]]:
        """One pass to the last step; a stream cannot be iterated a second time."""
        if self._begun or self._batches is None:
            raise RuntimeError("the stream is closed or has been iterated; make a new one")
        self._begun = True
        try:
            for step in self._steps:
                yield [self._next(each) for each in self.schedule.micro_batches(step, self._rank)]
        finally:
            self.close()

    def close(self) -> None:
        """End the workers and threads."""
        self._batches = None  # the DataLoader's iterator ends its workers when it goes
        self._micro_batches.close()

    def _next(self, address: Address) -> LoadedBatch:
        assert self._batches is not None, "the stream was closed while it was iterated"
        try:
            batch = next(self._batches)
        except (RuntimeError, OSError) as error:
            died = death(self._processes, self._pipelines[address.source], address)
            if died is None:
                raise
            raise died from error
        if isinstance(batch, SpectraNetError):
            raise batch
        failures = self.failures[batch.source]
        if batch.skipped and not failures.failed and self._rank == 0:
            first = batch.skipped[0]
            _log.warning(
                "source '%s': sample '%s' cannot be used and another takes its place: %s"
                "  (said once a source; all of them:  failures/ in the run's directory)",
                first.source,
                first.key,
                first.reason,
            )
        failures.add(len(batch), batch.skipped)
        return batch


class EvalData:
    """Held-out sources (:class:`spectranet.contracts.TaskData`), in their own order.

    Nothing is shuffled, augmented or hidden, and every rank reads all of it: retrieval needs every
    candidate. A sample that cannot be used is left out, on all ranks if one of them cannot use it, and
    counted in ``failures``; there is nothing to put in its place. ``ids_B`` are row numbers of the source.

    Args:
        config: sections ``eval``, ``data`` and ``modalities``. ``eval.limit`` samples of a source
            are spread evenly over its rows.
        agree: with several ranks, gives from the rows of a batch that this one can use those that all can
            use. A collective call: ranks must iterate over the same batches.

    Raises:
        ConfigError: the configuration cannot be used; lists every problem found.
    """

    def __init__(
        self,
        config: Config,
        modalities: Mapping[str, Modality],
        readers: Sequence[Reader],
        agree: Callable[[Sequence[bool]], Sequence[bool]] = lambda usable: usable,
    ) -> None:
        if config.eval.batch < 1 or (config.eval.limit is not None and config.eval.limit < 1):
            raise ConfigError("eval.batch and eval.limit must be at least 1")
        self.sources = open_sources(config.eval.sources, modalities, readers, config.data, "eval")
        _refuse_broken(self.sources, config.data.failure_limit)
        for source in self.sources:
            if source.broken:
                _log.warning("%s", source.describe())
        self.failures: dict[str, Failures] = {}
        pipelines = build_pipelines(self.sources, config, modalities, train=False, ratios={})
        self._pipelines = {pipeline.source.name: pipeline for pipeline in pipelines}
        self._modalities = modalities
        self._agree = agree
        self._batch = config.eval.batch
        self._limit = config.eval.limit
        self._threads = config.data.threads
        self._stall_s = config.data.stall_s

    def names(self) -> tuple[str, ...]:
        return tuple(self._pipelines)

    def modalities(self, name: str) -> tuple[str, ...]:
        """The modalities of a source, sorted."""
        return self._pipeline(name).source.modalities

    def batches(self, name: str) -> Iterator[LoadedBatch]:
        """The batches of a source, prepared one ahead; a new pass at every call.

        Batches are shorter at the end, and where samples are left out.

        Raises:
            ConfigError: there is no such source.
            DataError: none of its samples can be used.
        """
        pipeline = self._pipeline(name)
        rows = spread(len(pipeline.source), self._limit)
        chunks = [rows[first : first + self._batch] for first in range(0, len(rows), self._batch)]
        failures = self.failures[name] = Failures()
        crew = Crew(self._threads, self._stall_s)
        try:
            ahead = pipeline.begin(chunks[0], chunks[0], crew)
            for i, chunk in enumerate(chunks):
                mine = ahead
                if i + 1 < len(chunks):
                    ahead = pipeline.begin(chunks[i + 1], chunks[i + 1], crew)
                batch = self._collate(pipeline, chunk, pipeline.outcomes(chunk, mine))
                if batch is not None:
                    yield batch
        finally:
            crew.close()
        if failures.failed == failures.tried:
            raise DataError(f"source '{name}': no sample can be used\n{worst(failures.reasons)}")

    def _collate(
        self, pipeline: Pipeline, rows: Sequence[int], results: Sequence[Prepared | Skipped]
    ) -> LoadedBatch | None:
        name = pipeline.source.name
        everywhere = self._agree([isinstance(each, Prepared) for each in results])
        used, skipped = {}, []
        for row, each, is_usable in zip(rows, results, everywhere, strict=True):
            if isinstance(each, Skipped):
                skipped.append(each)
            elif is_usable:
                used[row] = pipeline.hide(each)
            else:
                skipped.append(Skipped.of(name, each.key, "another rank cannot use it"))
        self.failures[name].add(len(rows), skipped)
        if not used:
            return None
        return collate([*used.values()], self._modalities, source=name, ids=[*used], skipped=skipped)

    def _pipeline(self, name: str) -> Pipeline:
        if name not in self._pipelines:
            raise ConfigError(f"no evaluation source '{name}'.{did_you_mean(name, self._pipelines)}")
        return self._pipelines[name]


def _schedule(config: Config, sources: Sequence[Source], ranks: int) -> Schedule:
    schedule = Schedule(
        Mixture.of([source.weight for source in sources]),
        global_batch=config.train.global_batch,
        slots=config.train.slots,
        ranks=ranks,
        micro_batch=config.train.micro_batch,
    )
    schedule.check_sizes({source.name: len(source) for source in sources})
    return schedule


def _check(config: Config) -> None:
    """What the configuration's own check has told already, unless it was made in Python."""
    problems = [f"{path}: {text}" for path, text in data_problems(config)]
    if not config.data.sources:
        problems.append("data.sources is empty: there is nothing to train on")
    if problems:
        raise ConfigError("\n".join(problems))


def _report(sources: Sequence[Source]) -> None:
    for source in sources:
        level = logging.WARNING if source.dropped or source.broken else logging.INFO
        _log.log(level, "%s", source.describe())


def _refuse_broken(sources: Sequence[Source], limit: float) -> None:
    """Refuse sources that have lost more of their shards than may fail.

    Raises:
        ConfigError: lists every such source, and what would make it acceptable.
    """
    problems = []
    for source in sources:
        share = len(source.broken) / len(source.parts)
        if source.is_too_broken(limit):
            named = list(source.broken.items())[:_FEW_BROKEN]
            lines = [
                f"source '{source.name}': {source.count_broken()} cannot be read whole "
                f"({as_percent(share)}), and data.failure_limit is {as_percent(limit)}",
                *(f"'{part}': {reason}" for part, reason in named),
                *(["…"] if len(source.broken) > len(named) else []),
                f"fetch them again, or go on with what can be read:  "
                f"data.failure_limit={limit_that_accepts(share)}",
            ]
            problems.append("\n  ".join(lines))
    if problems:
        raise ConfigError("\n".join(problems))
