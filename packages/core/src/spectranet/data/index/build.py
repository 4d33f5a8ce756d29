"""Is there a fresh index of a shard? If not, who makes it?

Many processes may ask at once, on many machines: each shard is scanned by the one that holds its lock,
the others go on with other shards and come back.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

from spectranet.data.children import die_with_parent, take_signals_as_any_process
from spectranet.data.index.file import Unusable
from spectranet.data.index.place import SUFFIX, Place
from spectranet.data.index.scan import scan_shard
from spectranet.data.index.shard import ShardIndex, ShardRow
from spectranet.data.stores.lock import Busy
from spectranet.data.stores.state import Stat, difference
from spectranet.data.stores.store import Absent, is_url, read_all
from spectranet.errors import DataError

__all__ = ["Found", "Outcome", "Wanted", "find", "find_or_build", "rows"]

_ALONE_S = 2.0
"""How long a process scans alone before it starts others."""
_CHUNK = 16
_REMOTE_THREADS = 16


@dataclass(frozen=True)
class Found:
    """The index of a shard, or why there is none that can be used.

    Attributes:
        stale: what is wrong with the files that were found; empty where there is none, or a fresh one.
        checksums: whether the stale one has them.
        unread: why a file that may be fresh could not be read; else empty.
        scanned: whether the shard was read to make it just now.
    """

    index: ShardIndex | None
    stale: str = ""
    checksums: bool = False
    unread: str = ""
    scanned: bool = False


@dataclass(frozen=True)
class Wanted:
    """A shard whose row is wanted: its number for the one who asks, its name in the folder, its state."""

    number: int
    name: str
    address: str
    stat: Stat


@dataclass(frozen=True)
class Outcome:
    """Attributes:
    row: None where another process is at it.
    stale: what was wrong with the index that had to be replaced; else empty.
    scanned: whether the shard was read.
    """

    number: int
    row: ShardRow | None
    stale: str = ""
    scanned: bool = False


class _Unreadable(DataError):  # noqa: N818
    """A shard cannot be read."""


def find(place: Place, name: str, stat: Stat, *, checksums: bool = False) -> Found:
    """Look for an index of shard ``name``, which is now as ``stat`` says; nothing is written."""
    stale, unread, has_checksums = "", "", False
    for address in place.addresses(name + SUFFIX):
        try:
            index = ShardIndex.from_bytes(read_all(address))
        except Absent:
            continue
        except (Unusable, DataError) as error:
            stale = f"its index cannot be used: {error}"
            unread = unread or (str(error) if isinstance(error, DataError) else "")
            continue
        stale = difference(index.stat, stat)
        has_checksums |= index.crc32_M is not None
        if not stale and checksums and index.crc32_M is None:
            stale = "it was indexed without checksums"
        if not stale:
            return Found(index)
    return Found(None, stale, has_checksums, unread)


def find_or_build(
    place: Place, name: str, shard: str, stat: Stat, *, checksums: bool = False, patient: bool = True
) -> Found:
    """The index of a shard, made if there is no fresh one; ``stale`` says what was wrong with the old one.

    It gets checksums where they are asked for, and where the old one had them; ``shard`` is the address.

    Raises:
        Busy: another process is making it, and this one is not ``patient``.
        DataError: the shard cannot be read, or its index cannot be written.
    """
    found = find(place, name, stat, checksums=checksums)
    if found.index is not None:
        return found
    with place.lock(name + SUFFIX, wait=patient):
        again = find(place, name, stat, checksums=checksums)
        if again.index is not None:
            return again
        try:
            index = scan_shard(shard, stat, checksums=checksums or again.checksums)
        except DataError as error:
            why = f" ({found.stale})" if found.stale else ""
            raise _Unreadable(
                f"shard '{shard}' cannot be indexed{why}: {error}\n"
                f"  try it alone:  spectranet data index '{shard}'"
            ) from error
        place.write(name + SUFFIX, index.to_bytes())
    return Found(index, found.stale, scanned=True)


def rows(
    place: Place, shards: Sequence[Wanted], *, checksums: bool = False, workers: int | None = None
) -> Iterator[Outcome]:
    """The row of every shard, in the order in which they are done. One that cannot be read is broken.

    Args:
        workers: processes, or threads for URLs, which wait more than they compute; None starts as
            many as fit when two seconds of one were not enough.

    Raises:
        DataError: an index cannot be written.
    """
    # Ranks that start together begin at different places, so that they share the work.
    first = os.getpid() * 7919 % max(1, len(shards))
    busy = []
    for outcome in _spread(place, [*shards[first:], *shards[:first]], checksums, workers):
        if outcome.row is None:
            busy.append(outcome.number)
        else:
            yield outcome
    late = set(busy)
    for shard in shards if late else ():
        if shard.number in late:
            yield _outcome(place, shard, checksums, patient=True)


def _outcome(place: Place, shard: Wanted, checksums: bool, *, patient: bool) -> Outcome:
    try:
        found = find_or_build(
            place, shard.name, shard.address, shard.stat, checksums=checksums, patient=patient
        )
    except Busy:
        return Outcome(shard.number, None)
    except _Unreadable as error:
        reason = str(error.__cause__)
        return Outcome(shard.number, ShardRow(shard.stat, broken=reason, readable=False), scanned=True)
    assert found.index is not None
    return Outcome(shard.number, found.index.row(shard.stat), found.stale, found.scanned)


def _some(place: Place, shards: Sequence[Wanted], checksums: bool) -> list[Outcome]:
    return [_outcome(place, shard, checksums, patient=False) for shard in shards]


def _spread(
    place: Place, shards: Sequence[Wanted], checksums: bool, workers: int | None
) -> Iterator[Outcome]:
    remote = is_url(place.folder)
    workers_at_most = workers or (_REMOTE_THREADS if remote else _processors())
    done = 0
    if workers_at_most == 1 or not (remote or workers):
        until = time.monotonic() + _ALONE_S
        while done < len(shards) and (workers_at_most == 1 or time.monotonic() < until):
            yield _outcome(place, shards[done], checksums, patient=False)
            done += 1
    if done == len(shards):
        return
    chunk = 1 if remote else max(1, min(_CHUNK, (len(shards) - done) // (4 * workers_at_most)))
    chunks = (shards[i : i + chunk] for i in range(done, len(shards), chunk))
    with _executor(remote, workers_at_most) as pool:
        running: set[Future[list[Outcome]]] = set()
        for each in chunks:
            running.add(pool.submit(_some, place, each, checksums))
            if len(running) >= 2 * workers_at_most:
                ready, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ready:
                    yield from future.result()
        for future in running:
            yield from future.result()


def _executor(remote: bool, workers: int) -> Executor:
    if remote:
        return ThreadPoolExecutor(workers, thread_name_prefix="index")
    method = "fork" if sys.platform == "linux" else "spawn"
    start = partial(_start_worker, os.getpid())
    return ProcessPoolExecutor(workers, mp_context=get_context(method), initializer=start)


def _start_worker(parent_pid: int) -> None:
    take_signals_as_any_process()  # a trainer's handlers only raise a flag, which nobody here would see
    die_with_parent(parent_pid)


def _processors() -> int:
    """Those that this process may use, shared with the other ranks of its machine."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, count // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
