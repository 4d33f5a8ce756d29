"""Which few stand for all?"""

from __future__ import annotations

__all__ = ["spread"]


def spread(size: int, most: int | None) -> range | list[int]:
    """At most ``most`` numbers below ``size``, evenly spread; None: all.

    The first ones alone would be of one kind where something is sorted.
    """
    if most is None or most >= size:
        return range(size)
    return [i * size // most for i in range(most)]
