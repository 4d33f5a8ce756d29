"""How many samples could not be used, and why?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from spectranet.data.collate import LoadedBatch
from spectranet.data.pipeline import Skipped

__all__ = ["Failures"]

_EXAMPLES = 10
_MOST_REASONS = 100


@dataclass
class Failures:
    """What could not be used of one source, on this rank."""

    used: int = 0
    skipped: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[Skipped] = field(default_factory=list)
    """The first ten."""

    def add(self, batch: LoadedBatch) -> None:
        self.used += len(batch)
        self.skip(batch.skipped)

    def skip(self, skipped: Sequence[Skipped]) -> None:
        self.skipped += len(skipped)
        for each in skipped:
            # Without the key: "truncated" is one reason, whichever file it is said of.
            reason = each.reason.replace(each.key, "…")
            known = reason in self.reasons or len(self.reasons) < _MOST_REASONS
            self.reasons[reason if known else "other reasons"] += 1
        self.examples += skipped[: _EXAMPLES - len(self.examples)]
