"""When have so many samples failed that a run must stop?

The counts of all ranks are summed in a reduction that every step makes anyway (that of the stop flag),
so a source that goes bad is noticed in the step in which it passes the limit, on every rank, and a good
one costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from spectranet.data.failures import Failures, Reason, Skipped, as_percent, limit_that_accepts, worst
from spectranet.errors import DataError
from spectranet.train.distributed import World

__all__ = ["FailureLimit", "TooManyFailures"]

_FEWEST_TRIED = 1000
"""Shares are taken of at least so many samples: one bad one among the first ten is no tenth."""


class TooManyFailures(DataError):  # noqa: N818 - it says what has happened
    """More samples of a source failed than ``data.failure_limit`` allows."""

    same_on_all_ranks = True


class FailureLimit:
    """How many samples were tried and how many of them failed, over all ranks.

    The limit is judged on what was tried since this start: who mends a source and goes on begins with
    nothing against it. Figures are of the whole run.

    Args:
        limit: the share of a source's samples that may fail; 0 allows none, 1 all.
        failures: of this rank, by source; counts up while the run goes.
        before: (tried, failed) of each source until the checkpoint that the run goes on from.
    """

    def __init__(
        self, limit: float, failures: Mapping[str, Failures], before: Mapping[str, Sequence[int]]
    ) -> None:
        self.limit = limit
        self._mine = failures
        self._names = sorted(failures)
        self._before = {name: before.get(name, (0, 0)) for name in self._names}
        self._since = dict.fromkeys(self._names, (0, 0))

    def counts(self) -> list[float]:
        """What this rank brings to the sum: tried and failed of each source, in the order of their names."""
        return [
            float(count)
            for name in self._names
            for count in (self._mine[name].tried, self._mine[name].failed)
        ]

    def update(self, summed: Sequence[float]) -> None:
        """Take in the :meth:`counts` of all ranks."""
        pairs = zip(summed[::2], summed[1::2], strict=True)
        self._since = {name: (int(t), int(f)) for name, (t, f) in zip(self._names, pairs, strict=True)}

    def totals(self) -> dict[str, tuple[int, int]]:
        """(tried, failed) of each source, since the beginning of the run."""
        return {
            name: (self._before[name][0] + tried, self._before[name][1] + failed)
            for name, (tried, failed) in self._since.items()
        }

    def figures(self) -> dict[str, float]:
        """For the journal: how many samples were replaced, and of which sources."""
        totals = self.totals()
        figures = {"replaced_samples": float(sum(failed for _, failed in totals.values()))}
        for name, (tried, failed) in totals.items():
            if failed:
                figures |= {f"tried/{name}": float(tried), f"failed/{name}": float(failed)}
        return figures

    def passed(self) -> list[str]:
        """The sources that are over the limit; the same on every rank."""
        if self.limit >= 1:
            return []
        return [
            name
            for name, (tried, failed) in self._since.items()
            if failed > self.limit * max(tried, _FEWEST_TRIED)
        ]

    def error(self, world: World, done: int, run_dir: Path) -> TooManyFailures:
        """Why the run stops and how it goes on; a collective call, which gathers the reasons."""
        parts = []
        shares = []
        for name in self.passed():
            tried, failed = self._since[name]
            shares.append(failed / tried)  # not of the fewest: it would stop again when so many are tried
            parts.append(
                f"source '{name}': {failed:,} of {tried:,} samples could not be used "
                f"({as_percent(failed / tried)}); data.failure_limit is {as_percent(self.limit)}"
                + (f" of at least {_FEWEST_TRIED:,}" if tried < _FEWEST_TRIED else "")
                + "\n"
                + worst(_of_all_ranks(self._mine[name].reasons, world))
            )
        return TooManyFailures(
            "\n".join(parts) + f"\n  all of them:  {run_dir / 'failures'}\n"
            f"  a checkpoint of step {done} is written: mend the source and repeat the command to go on\n"
            f"  or accept the loss:  data.failure_limit={limit_that_accepts(max(shares))}"
        )


def _of_all_ranks(reasons: Mapping[str, Reason], world: World) -> dict[str, Reason]:
    """The reasons of every rank together; a collective call."""
    mine = [[kind, r.count, r.example.source, r.example.key, r.example.reason] for kind, r in reasons.items()]
    merged: dict[str, Reason] = {}
    for told in world.tell_all(mine):
        for kind, count, *example in told:
            merged.setdefault(kind, Reason(0, Skipped(*example))).count += count
    return merged
