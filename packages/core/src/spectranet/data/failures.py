"""How many samples could not be used, and why?"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Failures", "Reason", "Skipped", "as_percent", "limit_that_accepts", "ranked", "tally", "worst"]

_EXAMPLES = 10
_MOST_REASONS = 100
_OTHERS = "other reasons"
_LONGEST_KEY = 200
_LONGEST_REASON = 400

_VARIABLE = re.compile(r"'[^']*'|\b[0-9a-f]{2}(?: [0-9a-f]{2})+\b|\d[\d.,]*")
"""Names, bytes (``66 6c``) and numbers: what differs from sample to sample where the reason is the same."""


@dataclass(frozen=True)
class Skipped:
    """A sample that could not be used, and why; both fit to be printed.

    Attributes:
        attempt: 0 where it was the sample's turn, n where it was the n-th to take the place of another.
    """

    source: str
    key: str
    reason: str
    attempt: int = 0

    @classmethod
    def of(cls, source: str, key: str, reason: str) -> Skipped:
        """Keys and reasons may quote what a bad file holds: control characters, or a megabyte."""
        return cls(source, printable(key, _LONGEST_KEY), printable(reason, _LONGEST_REASON))


@dataclass
class Reason:
    """How often something was the reason, and the first sample it was said of."""

    count: int
    example: Skipped


@dataclass
class Failures:
    """Whose turn it was of one source, on this rank, and what of that could not be used.

    What was drawn in their places and failed as well is not counted: it is drawn from nearby, and one shard
    that is gone would count many times over.
    """

    tried: int = 0
    failed: int = 0
    reasons: dict[str, Reason] = field(default_factory=dict)
    """By what it says apart from names, bytes and numbers."""
    examples: list[Skipped] = field(default_factory=list)
    """The first ten."""

    def add(self, tried: int, skipped: Sequence[Skipped]) -> None:
        failed = [each for each in skipped if each.attempt == 0]
        self.tried += tried
        self.failed += len(failed)
        self.examples += failed[: _EXAMPLES - len(self.examples)]
        tally(failed, self.reasons)


def tally(skipped: Iterable[Skipped], reasons: dict[str, Reason] | None = None) -> dict[str, Reason]:
    """Count by reason, on top of ``reasons``; from the hundredth on the rest are counted as one."""
    reasons = {} if reasons is None else reasons
    for each in skipped:
        kind = _VARIABLE.sub("…", each.reason.replace(each.key, "…"))
        if kind not in reasons and len(reasons) >= _MOST_REASONS:
            kind = _OTHERS
        if kind in reasons:
            reasons[kind].count += 1
        else:
            reasons[kind] = Reason(1, each)
    return reasons


def ranked(reasons: Mapping[str, Reason]) -> list[Reason]:
    """The commonest first; of equals in the order of what they say."""
    return sorted(reasons.values(), key=lambda each: (-each.count, each.example.reason))


def worst(reasons: Mapping[str, Reason], most: int = _EXAMPLES) -> str:
    """A line for each of the commonest reasons: how often, an example, and what it says of it."""
    shown = ranked(reasons)[:most]
    width = max((len(f"{each.count:,}") for each in shown), default=0)
    return "\n".join(
        f"  {each.count:>{width},} x  '{each.example.key}': {each.example.reason}" for each in shown
    )


def limit_that_accepts(share: float) -> float:
    """A round number well above a share of failures: twice it, in steps of its first digit, 1 at most."""
    digit = 10.0 ** math.floor(math.log10(share))
    return min(1.0, round(math.ceil(2 * share / digit) * digit, 6))


def as_percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def printable(text: str, longest: int) -> str:
    """One line without control characters, at most ``longest`` characters long."""
    line = "".join(c if c.isprintable() else " " if c.isspace() else "�" for c in text[: 4 * longest])
    line = " ".join(line.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
