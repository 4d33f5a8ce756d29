"""What is known of a file without reading it, and is it still the same file?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["Stat", "difference"]


@dataclass(frozen=True)
class Stat:
    """Attributes:
    size: bytes.
    stamp: another when the content is another: time of change, ETag; empty where a store has none.
    """

    size: int
    stamp: str


def difference(indexed: Stat, now: Stat) -> str:
    """What differs between a shard as it was indexed and as it is, or an empty string.

    Stamps of two kinds (a store may give a time in a listing and a hash when it is asked for one
    object) say nothing, nor does a missing one: then the size alone is compared.
    """
    if indexed.size != now.size:
        return f"it had {indexed.size} bytes when it was indexed, and has {now.size}"
    kinds = [stat.stamp.partition("=")[0] if "=" in stat.stamp else "" for stat in (indexed, now)]
    if indexed.stamp and now.stamp and kinds[0] == kinds[1] and indexed.stamp != now.stamp:
        before, after = _as_dates(indexed.stamp, now.stamp)
        return f"it was changed after it was indexed (then {before}, now {after})"
    return ""


def _as_dates(*stamps: str) -> list[str]:
    """Stamps of local files as dates, with as many digits as tell them apart; others as they are."""
    try:
        seconds = [int(stamp) / 1e9 for stamp in stamps]
        dates = [datetime.fromtimestamp(each) for each in seconds]
    except (ValueError, OverflowError, OSError):
        return list(stamps)
    for digits in ("seconds", "microseconds"):
        shown = [date.isoformat(" ", digits) for date in dates]
        if len({*shown}) == len(shown):
            return shown
    return list(stamps)
