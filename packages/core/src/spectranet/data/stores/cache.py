"""From where is a remote shard read: from its copy on this disk, or by ranges from its store?

Samples of a window of shards are read in random order, a small range each: too many requests for an
object store. So shards that are wanted soon are fetched whole, in the background, and read from their
copies. A copy that is not there yet is never waited for: the range is read from the store meanwhile, so
a run starts and resumes at once, and a disk that is full or too small costs speed and nothing else.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, BinaryIO

from spectranet.data.stores import store
from spectranet.data.stores.copies import Copies, NoRoom
from spectranet.data.stores.state import Stat, difference
from spectranet.errors import DataError

__all__ = ["ShardCache"]

_log = logging.getLogger(__name__)

_CHUNK = 8 << 20
_FETCHERS = 2
"""Threads a process that fetch, each with at most two chunks in memory."""
_TOUCH_S = 10.0
"""A copy's time of use is written this often, not at every sample."""
_PAUSE_S = 600.0
"""How long nothing is fetched after a disk was full or could not be written to."""
_READS = 8
"""A shard of which this many ranges were read is worth fetching, though nobody asked for it."""
_MOST_KNOWN = 4096
GIB = 1 << 30


class ShardCache:
    """Reads ranges of remote shards; keeps copies in ``directory``, of ``limit_bytes`` in all (0: none).

    Processes and threads may share the directory. The object is that of one source; it pickles and forks:
    each process has its own threads, which live only while there is something to fetch.
    """

    def __init__(self, directory: str, limit_bytes: int, *, recent_s: float = 60.0) -> None:
        folder = os.path.join(os.path.expanduser(directory), "shards")
        self._copies = Copies(folder, limit_bytes, recent_s)
        self._of_process: dict[int, _Fetching] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_copies": self._copies, "_of_process": {}}

    def read(self, url: str, stat: Stat, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes of the shard from ``offset`` on.

        Raises:
            DataError: see :func:`spectranet.data.stores.store.read_range`.
        """
        mine = self._mine()
        try:
            copy = mine.copy(_name(url, stat), stat.size)
            if copy is not None:
                return store.read_local(copy, offset, size)
        except (OSError, DataError):  # removed since, to make room, or short, or the disk fails
            mine.forget(_name(url, stat))
        mine.missed(url, stat)
        return store.read_range(url, offset, size)

    def fetch_ahead(self, shards: Sequence[tuple[str, Stat]]) -> None:
        """Fetch shards in the background, the first first; what was asked for before is dropped.

        Returns at once and raises nothing: what cannot be fetched is met again when it is read. Where not
        all of them fit into the cache, those at the end are left to be read by ranges.
        """
        self._mine().want(shards)

    def fetch(self, url: str, stat: Stat) -> None:
        """Fetch a shard now, unless its copy is there or another process is at it.

        Raises:
            DataError: it cannot be read, or is another than ``stat`` says.
            NoRoom, OSError: see :meth:`Copies.writing`.
        """
        with self._copies.writing(_name(url, stat), stat.size) as part:
            if part is not None:
                _download(url, stat, part)

    def _mine(self) -> _Fetching:
        """Made in the process that uses it, without a lock, which a fork might copy while it is held."""
        mine = self._of_process.get(os.getpid())
        return mine or self._of_process.setdefault(os.getpid(), _Fetching(self, self._copies))


class _Fetching:
    """What one process knows of the copies and still wants."""

    def __init__(self, cache: ShardCache, copies: Copies) -> None:
        self._cache = cache
        self._copies = copies
        self._touched: dict[str, float] = {}
        """Copies seen, and when their time of use was last written, by ``time.monotonic()``."""
        self._reads: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._wanted: list[tuple[str, Stat]] = []
        """The next last."""
        self._threads = 0
        self._paused_until = 0.0
        self._said: set[str] = set()

    def copy(self, name: str, size: int) -> str | None:
        now = time.monotonic()
        touched = self._touched.get(name)
        if touched is not None and now < touched + _TOUCH_S:
            return self._copies.path(name)
        path = self._copies.use(name)
        if path is None:
            self._touched.pop(name, None)
            return None
        if touched is None and os.path.getsize(path) != size:  # the disk lost its end in a power cut
            with suppress(FileNotFoundError):
                os.unlink(path)
            return None
        if len(self._touched) >= _MOST_KNOWN:
            self._touched.clear()
        self._touched[name] = now
        return path

    def forget(self, name: str) -> None:
        self._touched.pop(name, None)

    def missed(self, url: str, stat: Stat) -> None:
        """A range was read from the store."""
        if not self._copies.limit_bytes:
            return
        with self._lock:
            if len(self._reads) >= _MOST_KNOWN:
                self._reads.clear()
            self._reads[url] += 1
            if self._reads[url] % _READS == 0 and (url, stat) not in self._wanted:
                self._wanted.append((url, stat))
                self._start()

    def want(self, shards: Sequence[tuple[str, Stat]]) -> None:
        fitting, taken, limit = [], 0, self._copies.limit_bytes
        if not limit:
            return
        for url, stat in shards:
            if taken + stat.size <= limit:
                taken += stat.size
                fitting.append((url, stat))
        if len(fitting) < len(shards):
            total = sum(stat.size for _, stat in shards)
            self._say(
                "window",
                f"the {len(shards)} shards of two windows take {total / GIB:.3g} GiB, more than the "
                f"{limit / GIB:.3g} GiB of data.cache_gib: {len(shards) - len(fitting)} of them are read by "
                "ranges, a request a sample; raise data.cache_gib or lower data.window_shards",
            )
        with self._lock:
            self._wanted = fitting[::-1]
            self._start()

    def _start(self) -> None:
        while self._threads < min(_FETCHERS, len(self._wanted)) and time.monotonic() >= self._paused_until:
            self._threads += 1
            threading.Thread(target=self._fetch_wanted, name="fetch-shards", daemon=True).start()

    def _fetch_wanted(self) -> None:
        try:
            while (shard := self._next()) is not None:
                self._fetch(*shard)
        except BaseException:
            with self._lock:
                self._threads -= 1
            raise

    def _next(self) -> tuple[str, Stat] | None:
        """What this thread is to fetch; None ends it."""
        with self._lock:
            if self._wanted and time.monotonic() >= self._paused_until:
                return self._wanted.pop()
            self._threads -= 1  # here, so that nothing is added between this look and the end
            return None

    def _fetch(self, url: str, stat: Stat) -> None:
        try:
            if self._copies.use(_name(url, stat)) is None:
                self._cache.fetch(url, stat)
        except DataError as error:
            _log.debug("not fetched ahead: %s", error)
        except NoRoom:
            self._say(
                "room",
                f"'{url}' ({stat.size / GIB:.3g} GiB) does not fit beside the shards in use into the "
                f"{self._copies.limit_bytes / GIB:.3g} GiB of data.cache_gib: it is read by ranges, a "
                "request a sample; raise data.cache_gib or lower data.window_shards",
            )
        except OSError as error:
            self._paused_until = time.monotonic() + _PAUSE_S
            self._say(
                "disk",
                f"shards cannot be kept in '{self._copies.folder}' ({error.strerror or error}): they are "
                "read by ranges, a request a sample; make room there or set data.cache_dir",
            )

    def _say(self, kind: str, message: str) -> None:
        """Once a process and kind."""
        if kind not in self._said:
            self._said.add(kind)
            _log.warning("%s", message)


def _download(url: str, stat: Stat, part: BinaryIO) -> None:
    """A chunk at a time, each with the patience of any read."""
    before = store.stat(url)
    if changed := difference(stat, before):
        raise DataError(f"'{url}' is not what was indexed: {changed}")
    for offset in range(0, stat.size, _CHUNK):
        part.write(store.read_range(url, offset, min(_CHUNK, stat.size - offset)))
    if store.stat(url) != before:
        raise DataError(f"'{url}' was changed while it was fetched")


@lru_cache(maxsize=_MOST_KNOWN)
def _name(url: str, stat: Stat) -> str:
    """Of the copy: another where the object is another. Ends with the shard's own name, for people."""
    plain = url.partition("?")[0]
    # A signature is another at each start. Where nothing else tells versions apart, it must.
    known_by = repr((plain if stat.stamp else url, stat)).encode()
    digest = hashlib.blake2b(known_by, digest_size=12, person=b"copy").hexdigest()
    shard = re.sub(r"[^\w.-]", "_", plain.rpartition("/")[2])
    return f"{digest}-{os.fsencode(shard)[-100:].decode(errors='ignore')}"
