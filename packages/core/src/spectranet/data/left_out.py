"""Which rows are left out when a source is opened: how many, why, and which was the first?"""

from __future__ import annotations

from collections import Counter

__all__ = ["LeftOut"]


class LeftOut:
    """Counts rows by reason and keeps an example of each."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, reason: str, example: str) -> None:
        """``reason`` names a row in the singular, ``example`` where it is: ``line 4``."""
        self._counts[reason] += 1
        self._first.setdefault(reason, example)

    def by_reason(self) -> Counter[str]:
        """``{"row without text (first line 4)": 2}``, as a sample set's ``dropped``."""
        return Counter({f"{why} (first {self._first[why]})": n for why, n in self._counts.items()})
