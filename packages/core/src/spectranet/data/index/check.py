"""Are the indexes of these shards fresh, and are the shards still what was indexed?"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from spectranet.data.index.build import find
from spectranet.data.index.open import changed, fitting, read_summaries
from spectranet.data.index.place import Place
from spectranet.data.index.scan import scan_shard
from spectranet.data.index.shard import ShardIndex, ShardRow
from spectranet.data.index.summary import SUMMARY
from spectranet.data.shards import ShardList
from spectranet.errors import DataError

__all__ = ["Checked", "check"]

_THREADS = 16


@dataclass(frozen=True)
class Checked:
    """What is wrong, by address; a shard is in one of these at most.

    Attributes:
        stale: shards without an index that fits them; indexing mends it.
        summaries: those of folders that do not fit the indexes of their shards; indexing mends it.
        damaged: shards whose bytes are not those that were indexed, or cannot be read; only another copy
            mends it.
        broken: shards that were cut short or no tar already when they were indexed.
    """

    stale: dict[str, str] = field(default_factory=dict)
    summaries: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    def __or__(self, other: Checked) -> Checked:
        return Checked(
            stale=self.stale | other.stale,
            summaries=self.summaries | other.summaries,
            damaged=self.damaged | other.damaged,
            broken=self.broken | other.broken,
        )


@dataclass(frozen=True)
class _One:
    """What is wrong with one shard, and how many samples its index has."""

    stale: str = ""
    damaged: str = ""
    broken: str = ""
    samples: int = -1


def check(
    shards: ShardList, cache_dir: str, *, checksums: bool = False, workers: int | None = None
) -> Checked:
    """What keeps the shards from being used whole, and at once. Nothing is written.

    Args:
        checksums: read all of every shard, and compare it with the checksums in its index.
        workers: threads.
    """
    places = [
        Place(folder, cache_dir, alone=shards.has_queries(number))
        for number, folder in enumerate(shards.folders)
    ]
    with ThreadPoolExecutor(workers or _THREADS) as pool:
        found = pool.map(
            lambda shard: _check(places[shards.folder_S[shard]], shards, shard, checksums),
            range(len(shards)),
        )
        of_shard = dict(enumerate(found))
    summaries: dict[str, str] = {}
    for number, place in enumerate(places):
        summaries |= _of_summary(place, shards, number, of_shard)
    return Checked(
        stale={shards.address(s): one.stale for s, one in of_shard.items() if one.stale},
        summaries=summaries,
        damaged={shards.address(s): one.damaged for s, one in of_shard.items() if one.damaged},
        broken={shards.address(s): one.broken for s, one in of_shard.items() if one.broken},
    )


def _check(place: Place, shards: ShardList, shard: int, checksums: bool) -> _One:
    stat = shards.stat(shard)
    index = (found := find(place, shards.name(shard), stat, checksums=checksums)).index
    if index is None:
        return _One(stale=found.stale or "it has no index")
    damaged = ""
    if checksums:
        try:
            damaged = _differs(index, scan_shard(shards.address(shard), stat, checksums=True))
        except DataError as error:
            damaged = str(error)
    return _One(damaged=damaged, broken="" if damaged else index.broken, samples=len(index))


def _of_summary(place: Place, shards: ShardList, number: int, of_shard: Mapping[int, _One]) -> dict[str, str]:
    """What is wrong with a folder's summary, where it is more than that shards have no index yet."""
    shard_F = np.flatnonzero(shards.folder_S == number)
    summaries, why = read_summaries(place)
    summary = fitting(summaries, shards, shard_F)
    lacks_F = changed(summary, shards, shard_F)
    samples_F = np.array([of_shard[shard].samples for shard in shard_F.tolist()])
    rows_S = summary.samples.per_shard(len(summary), [True] * len(summary.samples.labels))
    if len(summary):
        lacks_F |= rows_S[summary.find(shards.name_S[shard_F])] != samples_F
    wrong = int((lacks_F & (samples_F >= 0)).sum())
    if not wrong:
        return {}
    if not len(summary):
        why = f"it cannot be used: {why}" if why else "it does not exist"
    else:
        why = f"{wrong} of its rows are not what the indexes of their shards say"
    return {place.addresses(SUMMARY)[0]: why}


def _differs(before: ShardIndex, now: ShardIndex) -> str:
    """The first sample whose bytes are others than when they were indexed."""
    if _counts(before) != _counts(now) or not np.array_equal(before.block_M, now.block_M):
        return "its members are others than those that were indexed"
    for sample in range(len(before)):
        if before.members(sample) != now.members(sample):
            return f"the bytes of sample '{now.key(sample)}' are not those that were indexed"
    return ""


def _counts(index: ShardIndex) -> ShardRow:
    """Without examples of what was refused, which indexes of older versions do not have."""
    return replace(index.row(), examples={})
