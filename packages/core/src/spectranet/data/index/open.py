"""What is in these shards? From the summaries of their folders, and for shards that are new or changed from
their indexes, which are made where they are missing. Suffixes: S shards, F those of one folder.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np

from spectranet.data.index.build import Wanted, rows
from spectranet.data.index.file import Unusable
from spectranet.data.index.place import Place
from spectranet.data.index.progress import IndexProgress
from spectranet.data.index.shard import ShardRow, Signature
from spectranet.data.index.summary import SUMMARY, Summary, stamp_hash
from spectranet.data.shards import ShardList
from spectranet.data.stores.store import Absent, read_all
from spectranet.errors import DataError

__all__ = [
    "FolderShards",
    "How",
    "OpenShards",
    "changed",
    "fitting",
    "open_shards",
    "read_summaries",
]

_log = logging.getLogger(__name__)

_ROWS_AT_ONCE = 20_000


@dataclass(frozen=True)
class How:
    """Attributes:
    checksums: whether the indexes must have them.
    workers: see :func:`spectranet.data.index.build.rows`.
    thorough: look at every shard's own index, whatever the summary says.
    """

    checksums: bool = False
    workers: int | None = None
    thorough: bool = False


@dataclass(frozen=True)
class FolderShards:
    """Attributes:
    shard_F: number of each shard in the list.
    row_F: its number in the summary.
    """

    place: Place
    summary: Summary
    shard_F: np.ndarray
    row_F: np.ndarray


@dataclass(frozen=True)
class OpenShards:
    """Attributes:
    stale: by address, what was wrong with an index that had to be made again.
    scanned: how many shards were read for it, as they had no index that fits.
    """

    shards: ShardList
    folders: tuple[FolderShards, ...]
    stale: dict[str, str] = field(default_factory=dict)
    scanned: int = 0

    def samples(self) -> Counter[Signature]:
        """How many samples there are of each set of fields."""
        return self._totals("samples")

    def refused(self) -> Counter[str]:
        """How many members were left out, by reason and with one of them: ``hidden (as 3.tar/.x)``."""
        named: dict[str, str] = {}
        for folder in self.folders:
            for reason, (shard, member) in folder.summary.examples.items():
                if reason not in named and (self.shards.name_S[folder.shard_F] == os.fsencode(shard)).any():
                    named[reason] = f"{reason} (as {shard}/{member})"
        return Counter({named.get(reason, reason): n for reason, n in self._totals("refused").items()})

    def rows(self, accepts: Callable[[Signature], bool]) -> np.ndarray:
        """int64 (S,): how many samples of each shard have fields that are accepted."""
        rows_S = np.zeros(len(self.shards), dtype=np.int64)
        for folder in self.folders:
            tally = folder.summary.samples
            rows = tally.per_shard(len(folder.summary), [accepts(label) for label in tally.labels])
            rows_S[folder.shard_F] = rows[folder.row_F]
        return rows_S

    def broken(self) -> dict[str, str]:
        """By address, why a shard can be used only in part or not at all."""
        return {
            self.shards.address(shard): folder.summary.broken[self.shards.name(shard)]
            for folder in self.folders
            if folder.summary.broken
            for shard in folder.shard_F
            if self.shards.name(shard) in folder.summary.broken
        }

    def _totals(self, what: str) -> Counter:
        totals: Counter = Counter()
        for folder in self.folders:
            times = np.bincount(folder.row_F, minlength=len(folder.summary))
            totals.update(getattr(folder.summary, what).totals(times))
        return totals


def open_shards(shards: ShardList, cache_dir: str, how: How | None = None) -> OpenShards:
    """What is in the shards; summaries and indexes that are missing or stale are made.

    Raises:
        DataError: an index cannot be written.
    """
    folders, work = [], _Work()
    for number, name in enumerate(shards.folders):
        place = Place(name, cache_dir, alone=shards.has_queries(number))
        shard_F = np.flatnonzero(shards.folder_S == number)
        of_folder = _Work()
        folders.append(_open_folder(place, shards, shard_F, how or How(), of_folder))
        work.stale |= of_folder.stale
        work.scanned += of_folder.scanned
    return OpenShards(shards, tuple(folders), work.stale, work.scanned)


@dataclass
class _Work:
    """What had to be done, filled while it is; see :class:`OpenShards`."""

    stale: dict[str, str] = field(default_factory=dict)
    scanned: int = 0


def _open_folder(place: Place, shards: ShardList, shard_F: np.ndarray, how: How, work: _Work) -> FolderShards:
    kept, why = read_summaries(place)
    summary = fitting(kept, shards, shard_F)
    if why:
        _log.warning("the index of folder '%s' is made again: %s", place.folder or ".", why)
    wanted_F = np.ones(len(shard_F), dtype=bool) if how.thorough else changed(summary, shards, shard_F)
    if wanted_F.any():
        numbers = np.unique(shard_F[wanted_F]).tolist()
        wanted = [Wanted(s, shards.name(s), shards.address(s), shards.stat(s)) for s in numbers]
        summary = _extended(place, summary, shards, wanted, how, work)
    if work.stale:
        shard, reason = next(iter(work.stale.items()))
        were = "1 shard was" if len(work.stale) == 1 else f"{len(work.stale):,} shards were"
        _log.warning("%s indexed again; the first is '%s': %s", were, shard, reason)
    return FolderShards(place, summary, shard_F, summary.find(shards.name_S[shard_F]))


def changed(summary: Summary, shards: ShardList, shard_F: np.ndarray) -> np.ndarray:
    """bool (F,): True at shards that the summary lacks or knows in another state."""
    row_F = summary.find(shards.name_S[shard_F])
    if not len(summary):
        return row_F < 0
    stamp_F = np.array(
        [stamp_hash(bytes(stamp).decode()) for stamp in shards.stamp_S[shard_F]], dtype=np.uint32
    )
    known_F = summary.stamp_S[row_F]
    differs_F = (stamp_F != known_F) & (stamp_F != 0) & (known_F != 0)
    return (row_F < 0) | (summary.size_S[row_F] != shards.size_S[shard_F].astype(np.uint64)) | differs_F


def _extended(
    place: Place,
    summary: Summary,
    shards: ShardList,
    wanted: Sequence[Wanted],
    how: How,
    work: _Work,
) -> Summary:
    """The summary with the rows of the ``wanted`` shards, also in its file; ``work`` is filled."""
    found: dict[str, ShardRow] = {}
    unread: dict[str, ShardRow] = {}
    with IndexProgress(place.folder, len(wanted)) as progress:
        for outcome in rows(place, wanted, checksums=how.checksums, workers=how.workers):
            assert outcome.row is not None
            name = shards.name(outcome.number)
            if outcome.stale:
                work.stale[shards.address(outcome.number)] = outcome.stale
            work.scanned += outcome.scanned
            (found if outcome.row.readable else unread)[name] = outcome.row
            if len(found) == _ROWS_AT_ONCE:
                summary, found = summary.updated(found), {}
            progress.advance()
    summary = _written(place, summary.updated(found))
    return summary.updated(unread)  # which may be different next time, and is not kept


def read_summaries(place: Place) -> tuple[list[Summary], str]:
    """The summaries in their files, and why there is none that can be used though there is a file."""
    found, why = [], ""
    for address in place.addresses(SUMMARY):
        try:
            found.append(Summary.from_bytes(read_all(address)))
        except Absent:
            continue
        except (Unusable, DataError) as error:
            why = str(error)
    return found, "" if found else why


def fitting(summaries: Sequence[Summary], shards: ShardList, shard_F: np.ndarray) -> Summary:
    """All in one; of a shard that is in several, the row that fits it as it is now."""
    together = Summary()
    for each in summaries:
        better_F = changed(together, shards, shard_F) & ~changed(each, shards, shard_F)
        new_S = together.find(each.name_S) < 0
        better_S = np.isin(each.name_S, shards.name_S[shard_F[better_F]])
        together = together.joined(each.only(np.flatnonzero(new_S | better_S)))
    return together


def _written(place: Place, summary: Summary) -> Summary:
    """Write a summary, with the rows that others have added to its file meanwhile."""
    if not len(summary):
        return summary
    with place.lock(SUMMARY):
        before = reduce(Summary.joined, read_summaries(place)[0], Summary())
        together = before.joined(summary)
        content = together.to_bytes()
        if not len(before) or content != before.to_bytes():
            place.write(SUMMARY, content)
    return together
