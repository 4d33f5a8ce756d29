"""Samples in WebDataset tar shards, as img2dataset, LAION and webdataset's writer make them.

A sample's key is its members' path up to the first dot of the base name, its fields are the rest in
lower case: ``a/000.jpg`` and ``a/000.seg.png`` are fields ``jpg`` and ``seg.png`` of sample
``a/000``. Members of a sample need not be neighbours, so archives of plain ``tar`` work as well.

What is in the shards is known from their indexes (``index/``); a sample is one ranged read.
The index of a shard is loaded when a row of it is read. Suffixes: S shards, K samples of a shard.
"""

from __future__ import annotations

import sys
import threading
import zlib
from array import array
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spectranet.contracts import RawSample
from spectranet.data.index.build import find, find_or_build
from spectranet.data.index.open import open_shards
from spectranet.data.index.place import Place
from spectranet.data.index.shard import Member, ShardIndex
from spectranet.data.members import lacking, offered, read_fields, to_read
from spectranet.data.options import OpenOptions
from spectranet.data.shards import list_shards
from spectranet.data.stores import store
from spectranet.data.stores.cache import ShardCache
from spectranet.data.stores.state import Stat, difference
from spectranet.errors import DataError

__all__ = ["TarSamples"]

_MOST_BYTES = 256 << 20
"""Of indexes that a process keeps for one source: the shards of a few windows."""


_GAP = 64 << 10
"""So many bytes that nobody asked for cost less than a second read."""


@dataclass(frozen=True)
class _Shard:
    """A shard while its rows are read; ``kept`` are the samples that have what is needed."""

    name: str
    address: str
    stat: Stat
    index: ShardIndex
    kept: np.ndarray


class TarSamples:
    """Random access to the samples of a list of shards, in the order of the shards.

    A sample's key starts with the name of its shard, since keys are unique only within one.

    Attributes:
        parts: int64 (S,): rows of each shard.
        broken: by address, why a shard can be used only in part or not at all.
        dropped: how many members and samples are left out, by reason.
        found: the fields that there are, and how many samples have each.

    Raises:
        DataError: see :func:`~spectranet.data.shards.list_shards`; or an index cannot be written.
    """

    def __init__(self, path: str, options: OpenOptions) -> None:
        if options.where:
            raise DataError(f"'{path}' is tar shards, and 'where' needs the columns of a manifest")
        self._options = options
        self._shards = list_shards(path)
        opened = open_shards(self._shards, options.cache_dir)
        samples = opened.samples()
        self.parts = opened.rows(self._accepts)
        self.broken = opened.broken()
        self.dropped: Counter[str] = opened.refused()
        for fields, count in samples.items():
            if not self._accepts(fields):
                self.dropped["sample without " + lacking(offered(fields, options), options)] += count
        counted: Counter[str] = Counter()
        for fields, count in samples.items():
            counted.update(dict.fromkeys(fields, count))
        self.found = dict(sorted(counted.items()))
        self._last = array("q", np.cumsum(self.parts, dtype=np.int64).tobytes())
        """Number of rows up to the end of each shard; an array of Python's, which is bisected sooner."""
        self._cache = ShardCache(options.cache_dir, options.cache_bytes)
        self._loaded: OrderedDict[int, _Shard] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": OrderedDict(), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def __len__(self) -> int:
        return self._last[-1]

    @property
    def identity(self) -> str:
        """A digest of the names and sizes of the shards."""
        return self._shards.identity

    def read(self, row: int, wanted: Sequence[str]) -> RawSample:
        """The sample in ``row``, with those of the ``wanted`` extensions that it has.

        Raises:
            DataError: the shard has vanished, was changed, or holds other bytes than when it was indexed.
        """
        number, place = self._find(row)
        shard = self._shard(number)
        sample = shard.kept.item(place)
        extensions = shard.index.signature(sample)
        key = f"{shard.name}/{shard.index.key(sample)}"
        contents = self._contents(shard, shard.index.members(sample, to_read(wanted, extensions)))
        return RawSample(key, read_fields(wanted, extensions, contents.__getitem__, key))

    def key(self, row: int) -> str:
        """What :meth:`read` calls it, or ``0001.tar[17]`` where the shard's index is not at hand."""
        number, place = self._find(row)
        with self._lock:
            shard = self._loaded.get(number)
        name = self._shards.name(number)
        return f"{name}/{shard.index.key(int(shard.kept[place]))}" if shard else f"{name}[{place}]"

    def _find(self, row: int) -> tuple[int, int]:
        """Number of the shard, and of the sample among those that are kept of it."""
        number = bisect_right(self._last, row)
        return number, row - (self._last[number - 1] if number else 0)

    def ahead(self, parts: Sequence[int]) -> None:
        """Fetch shards of a remote store in the background."""
        wanted = [(self._shards.address(part), self._shards.stat(part)) for part in parts]
        remote = [(address, stat) for address, stat in wanted if store.is_url(address)]
        if remote:
            self._cache.fetch_ahead(remote)

    def _accepts(self, fields: Sequence[str]) -> bool:
        return self._options.met_by(offered(fields, self._options))

    def _contents(self, shard: _Shard, members: Mapping[str, Member]) -> dict[str, bytes]:
        """The bytes of each field; what lies side by side, as a sample's members do, is one read."""
        start, end, asked = sys.maxsize, 0, 0
        for offset, size, _ in members.values():
            start, end, asked = min(start, offset), max(end, offset + size), asked + size
        contents = {}
        apart = end - start > asked + _GAP
        block = b"" if apart or not members else self._read(shard, start, end - start)
        for name, (offset, size, crc32) in members.items():
            content = (
                self._read(shard, offset, size) if apart else block[offset - start : offset - start + size]
            )
            if crc32 is not None and zlib.crc32(content) != crc32:
                raise DataError(
                    f"shard '{shard.address}': the bytes of its '{name}' at {offset} are not those "
                    "that were indexed (CRC-32); it is damaged"
                )
            contents[name] = content
        return contents

    def _read(self, shard: _Shard, offset: int, size: int) -> bytes:
        if store.is_url(shard.address):
            return self._cache.read(shard.address, shard.stat, offset, size)
        return store.read_range(shard.address, offset, size, shard.stat)

    def _shard(self, number: int) -> _Shard:
        with self._lock:
            if number in self._loaded:
                self._loaded.move_to_end(number)
                return self._loaded[number]
        shard = self._load(number)  # two threads may load the same, which costs a millisecond
        with self._lock:
            self._loaded[number] = shard
            held = sum(each.index.nbytes for each in self._loaded.values())
            while held > _MOST_BYTES and len(self._loaded) > 1:
                held -= self._loaded.popitem(last=False)[1].index.nbytes
        return shard

    def _load(self, number: int) -> _Shard:
        """The index of a shard, which must still be what it was when this set was opened."""
        address, stat = self._shards.address(number), self._shards.stat(number)
        folder = self._shards.folders[self._shards.folder_S[number]]
        alone = number in self._shards.queries
        place = Place(folder, self._options.cache_dir, alone=alone)
        name = self._shards.name(number)
        found = find(place, name, stat)
        if found.index is None:
            if found.unread:  # a store that fails will not bear a scan of the shard either
                raise DataError(f"the index of shard '{address}' cannot be read: {found.unread}")
            if changed := difference(stat, store.stat(address)):
                raise DataError(f"shard '{address}' has changed since this run began: {changed}")
            found = find_or_build(place, name, address, stat)
        assert found.index is not None
        accepted = [self._accepts(fields) for fields in found.index.signatures]
        kept = np.flatnonzero(np.array(accepted, dtype=bool)[found.index.signature_K])
        if len(kept) != self.parts[number]:
            raise DataError(
                f"the index of shard '{address}' has {len(kept)} samples, that of its folder "
                f"{self.parts[number]}\n  make both again:  spectranet data index '{address}'"
            )
        return _Shard(name, address, stat, found.index, kept)
