"""Time sides of a comparison in turn, so that a noisy machine is noisy for all of them alike."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Timing", "cpu_with_children", "figure", "measure", "table"]


@dataclass(frozen=True)
class Timing:
    """Process CPU seconds of each round, in the order they ran."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def ratio_to(self, other: Timing) -> float:
        """Median over the rounds of own time / other's time in the same round."""
        return statistics.median(a / b for a, b in zip(self.seconds, other.seconds, strict=True))


def cpu_with_children() -> float:
    """CPU seconds of this process and of those it started that have ended and been waited for."""
    used = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(each.ru_utime + each.ru_stime for each in used)


def measure(
    sides: Mapping[str, Callable[[], object]],
    rounds: int,
    budget_s: float,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Timing]:
    """Run every side once to warm up, then all in turn, ``rounds`` times or until the budget is spent.

    At least three rounds are run, whatever they take. Sides that start processes and wait for them to
    end are timed by :func:`cpu_with_children`.
    """
    for run in sides.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in sides}
    end = time.monotonic() + budget_s
    for done in range(rounds):
        if done >= 3 and time.monotonic() > end:
            break
        order = list(sides.items())
        for name, run in order if done % 2 == 0 else reversed(order):
            start = clock()
            run()
            found[name].append(clock() - start)
    return {name: Timing(tuple(seconds)) for name, seconds in found.items()}


def table(title: str, timings: Mapping[str, Timing]) -> None:
    print(f"\n{title}")
    for name, timing in timings.items():
        low, high = min(timing.seconds), max(timing.seconds)
        print(
            f"  {name:<34} {timing.median * 1e3:9.1f} ms CPU  (min {low * 1e3:.1f}, max {high * 1e3:.1f}, "
            f"{len(timing.seconds)} rounds)"
        )


def figure(name: str, value: float, unit: str) -> None:
    """The line that a reader of results looks for."""
    print(f"figure {name} {value:.4g} {unit}")
