"""How does what a micro-batch costs grow with its size?

Bytes and FLOPs of a micro-batch grow linearly with its samples, so two points are enough. Where the peak
moves from one place of the step to another, it is the greatest of several straight lines, and a chord
between two points of such a curve errs upwards.

The setting that keeps least is rehearsed at two sizes; they tell what a micro-batch without samples would
need. That is the same whatever is kept of the samples, so other settings are rehearsed at the largest
size alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from spectranet.config import Config
from spectranet.plan.simulate import Cost, Phase, Rehearsal

__all__ = ["Growth", "Measured", "grow", "measure"]

Measured = Mapping[str, Mapping[int, Cost]]
"""Source -> size of the micro-batch -> its cost."""


@dataclass(frozen=True)
class Growth:
    """Costs of a small and of a large micro-batch."""

    small: int
    small_cost: Cost
    large: int
    large_cost: Cost

    def at(self, size: int) -> Cost:
        """The cost of a micro-batch of ``size`` samples."""
        share = (size - self.small) / (self.large - self.small) if self.large > self.small else 0.0

        def between(small: float, large: float) -> int:
            return round(small + share * (large - small))

        def phase(name: str) -> Phase:
            small, large = self.small_cost.phases[name], self.large_cost.phases[name]
            names = {*small.collectives, *large.collectives}
            return Phase(
                between(small.operations, large.operations),
                between(small.flops, large.flops),
                {n: between(small.collectives.get(n, 0), large.collectives.get(n, 0)) for n in names},
            )

        return Cost(
            peak_bytes=between(self.small_cost.peak_bytes, self.large_cost.peak_bytes),
            kept_bytes=between(self.small_cost.kept_bytes, self.large_cost.kept_bytes),
            phases={name: phase(name) for name in self.small_cost.phases},
        )


def measure(rehearsal: Rehearsal, sizes: Mapping[str, Sequence[int]], both_ends: bool) -> Measured:
    """Costs of the largest of each source's sizes; of the smallest too where both ends are asked for.

    Sources of the same modalities and options are rehearsed once.
    """
    alike: dict[str, list[str]] = {}
    for source in sizes:
        alike.setdefault(_what_it_is(rehearsal.config, source), []).append(source)
    found: dict[str, dict[int, Cost]] = {}
    for sources in alike.values():
        every = [size for source in sources for size in sizes[source]]
        ends = {min(every), max(every)} if both_ends else {max(every)}
        costs = {size: rehearsal.cost(sources[0], size) for size in sorted(ends)}
        found |= dict.fromkeys(sources, costs)
    return found


def grow(measured: Measured, leanest: Measured) -> dict[str, Growth]:
    """Source -> growth of a setting, from what was measured of it, and of the leanest one at both ends."""
    grown = {}
    for source, costs in measured.items():
        small, large = min(costs), max(costs)
        if small < large or len(leanest[source]) == 1:
            grown[source] = Growth(small, costs[small], large, costs[large])
        else:
            least, most = min(leanest[source]), max(leanest[source])
            line = Growth(least, leanest[source][least], most, leanest[source][most])
            grown[source] = Growth(
                0, _without_samples(costs[large], line.at(0).peak_bytes), large, costs[large]
            )
    return grown


def _without_samples(cost: Cost, peak_bytes: int) -> Cost:
    phases = {name: replace(phase, flops=0) for name, phase in cost.phases.items()}
    return Cost(peak_bytes, 0, phases)


def _what_it_is(config: Config, source: str) -> str:
    options = config.data.sources[source]
    return repr((sorted(options.modalities), options.overrides))
