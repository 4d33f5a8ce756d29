"""How does what a micro-batch costs grow with its size?

Two rehearsals are enough: bytes and FLOPs of a micro-batch grow linearly with its samples. Where the
peak moves from one place of the step to another, it is the greatest of several straight lines, and a
chord between two points of such a curve errs upwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spectranet.config import Config
from spectranet.plan.simulate import Cost, Phase, Rehearsal

__all__ = ["Growth", "measure_growth"]


@dataclass(frozen=True)
class Growth:
    """Costs of the smallest and the largest micro-batch in question."""

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


def measure_growth(rehearsal: Rehearsal, sizes: Mapping[str, Sequence[int]]) -> dict[str, Growth]:
    """Source -> growth between the smallest and the largest of its ``sizes``.

    Sources of the same modalities and options are rehearsed once.
    """
    alike: dict[str, list[str]] = {}
    for source in sizes:
        alike.setdefault(_what_it_is(rehearsal.config, source), []).append(source)
    growth: dict[str, Growth] = {}
    for sources in alike.values():
        every = [size for source in sources for size in sizes[source]]
        small, large = min(every), max(every)
        # The larger one last: the first backward of a process reduces less than all that follow.
        small_cost = rehearsal.cost(sources[0], small)
        large_cost = rehearsal.cost(sources[0], large)
        growth |= dict.fromkeys(sources, Growth(small, small_cost, large, large_cost))
    return growth


def _what_it_is(config: Config, source: str) -> str:
    options = config.data.sources[source]
    return repr((sorted(options.modalities), options.overrides))
