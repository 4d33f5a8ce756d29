"""Which source does a slot come from? Sources by weight, as a pure function of the slot's number.

Webster's method (Sainte-Laguë): slot n of the run goes to the source that owns the n-th smallest of
``(j + 1/2) / weight`` over all sources and j = 0, 1, 2, …, ties in the order of the sources. After
any number of slots each source is within a slot or so of its exact share, and nothing is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["Mixture"]


@dataclass(frozen=True)
class Mixture:
    """Assigns slots to sources.

    ``weights`` are positive integers, so that every comparison is exact; see :meth:`of`.
    """

    weights: tuple[int, ...]

    @classmethod
    def of(cls, weights: Sequence[float]) -> Mixture:
        """From decimal weights, taken as they are written: 0.65 is 13/20."""
        exact = [Fraction(str(weight)) for weight in weights]
        scale = math.lcm(*(weight.denominator for weight in exact))
        return cls(tuple(int(weight * scale) for weight in exact))

    def counts_before(self, slot: int) -> list[int]:
        """How many of the slots 0 to ``slot - 1`` each source has; costs O(sources²) at any slot.

        The entries up to a threshold t number ``floor(w t + 1/2)`` for a source of weight w. With S
        sources of total weight W, at ``t = (n - S/2) / W`` these sum to at most n and more than
        ``n - S``; at most S - 1 further slots are then dealt one by one.
        """
        sources, total = len(self.weights), sum(self.weights)
        twice_tw = 2 * slot - sources
        counts = [max(0, (weight * twice_tw + total) // (2 * total)) for weight in self.weights]
        for _ in range(slot - sum(counts)):
            counts[self._next(counts)] += 1
        return counts

    def deal(self, first: int, number: int) -> Iterator[tuple[int, int]]:
        """(source, how many slots it had before) for ``number`` slots from ``first`` on."""
        counts = self.counts_before(first)
        for _ in range(number):
            source = self._next(counts)
            yield source, counts[source]
            counts[source] += 1

    def _next(self, counts: list[int]) -> int:
        """The source with the smallest ``(count + 1/2) / weight``, compared crosswise in integers."""
        best = 0
        for source in range(1, len(counts)):
            mine = (2 * counts[source] + 1) * self.weights[best]
            if mine < (2 * counts[best] + 1) * self.weights[source]:
                best = source
        return best
