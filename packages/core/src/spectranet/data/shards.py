"""Which shards does a path stand for?"""

from __future__ import annotations

import hashlib
import os
import re
import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from spectranet.data.paths import COMPRESSED, is_manifest, missing_source, no_tars_in
from spectranet.data.stores import store
from spectranet.data.stores.state import Stat
from spectranet.errors import DataError

__all__ = ["ShardList", "expand_shards", "is_webdataset", "list_shards", "list_tars"]

_BRACES = re.compile(r"\{([^{}]*)\}")
_FEW = 8
"""Missing shards that a message names."""
_AT_ONCE = 4096
"""Local shards whose state is asked for together; the answers are packed before the next."""
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


_seen: dict[str, tuple[float, dict[str, Stat | None]]] = {}
"""The last folder of a store that was asked whether it has shards, when, and the answer."""
_SEEN_S = 10.0


def is_webdataset(path: str) -> bool:
    """Whether it stands for shards, by its name, or since it is a folder that has some."""
    if _is_tar(path):
        return True
    if store.is_url(path):
        tars = store.list_tars(path)
        _seen.clear()
        _seen[path] = time.monotonic(), tars
        return bool(tars)
    try:
        with os.scandir(os.path.expanduser(path)) as entries:
            return any(entry.name.endswith(".tar") and not entry.name.startswith(".") for entry in entries)
    except OSError:
        return False


def expand_shards(path: str) -> list[str]:
    """The shards that a path stands for: ``{000..012}`` and ``{a,b}``, globs, a folder of tars.

    Whether what is named in full exists is not looked at here.

    Raises:
        DataError: nothing matches, or a shard is compressed (no random access).
    """
    return _expand(path)[0]


def _expand(path: str) -> tuple[list[str], dict[str, Stat]]:
    """:func:`expand_shards`, and the state of those that a listing told on the way."""
    shards: list[str] = []
    known: dict[str, Stat] = {}
    for part in _expand_braces(os.path.expanduser(path)):
        if not _is_pattern(part) and _is_tar(part) and not os.path.isdir(part):
            shards.append(part)
            continue
        found = store.glob(part) if _is_pattern(part) else _tars(part)
        shards += found or ([] if _is_pattern(part) or os.path.isdir(part) else [part])
        known |= {shard: stat for shard, stat in found.items() if stat}
    if not shards:
        raise DataError(no_tars_in(path))
    for shard in shards:
        if _without_query(shard)[0].lower().endswith(COMPRESSED):
            raise DataError(f"shard '{shard}' is compressed and cannot be read at random; decompress it")
    return shards, known


def _is_tar(path: str) -> bool:
    return _without_query(path)[0].lower().endswith((".tar", *COMPRESSED))


def _tars(folder: str) -> dict[str, Stat | None]:
    """The shards of a folder; who asks whether there are any opens them next, and lists it once."""
    seen = _seen.pop(folder, None)
    return seen[1] if seen and time.monotonic() < seen[0] + _SEEN_S else store.list_tars(folder)


@dataclass(frozen=True)
class ShardList:
    """S shards and their state, kept in few bytes: a corpus may have a million.

    Attributes:
        folders: as written, without the slash at the end; one of signed addresses stands by itself.
        folder_S: index into ``folders``.
        name_S: names in their folders, as bytes.
        size_S: bytes of each tar.
        stamp_S: stamp of each tar, as bytes.
        queries: what follows the name in an address, by shard: ``?X-Amz-Signature=…``.
    """

    folders: tuple[str, ...]
    folder_S: np.ndarray
    name_S: np.ndarray
    size_S: np.ndarray
    stamp_S: np.ndarray
    queries: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.folder_S)

    def name(self, shard: int) -> str:
        return os.fsdecode(bytes(self.name_S[shard]))

    def address(self, shard: int) -> str:
        folder, name = self.folders[self.folder_S[shard]], self.name(shard)
        if not store.is_url(folder):
            return os.path.join(folder, name)
        return f"{folder}/{name}{self.queries.get(int(shard), '')}"

    def has_queries(self, folder: int) -> bool:
        """Whether the addresses of a folder's shards end in something that goes with each of them alone."""
        return bool(self.queries) and any(self.folder_S[shard] == folder for shard in self.queries)

    @property
    def identity(self) -> str:
        """A digest of the names and sizes, in order; the same for a copy in another place."""
        digest = hashlib.blake2b(self.size_S.astype("<i8").tobytes(), digest_size=8)
        digest.update(b"\0".join(self.name_S.tolist()))
        return digest.hexdigest()

    def stat(self, shard: int) -> Stat:
        return Stat(int(self.size_S[shard]), bytes(self.stamp_S[shard]).decode())


def list_shards(path: str) -> ShardList:
    """The shards that a path stands for, and their state now.

    Raises:
        DataError: see :func:`expand_shards`; or a shard is missing.
    """
    return _list([path])


def list_tars(patterns: Sequence[str]) -> ShardList:
    """:func:`list_shards` of several paths, one after the other; a shard that comes again is left out.

    Raises:
        DataError: also where something is no tar by its name.
    """
    for path in patterns:
        if is_manifest(path) and not os.path.isdir(path):
            raise DataError(f"'{path}' is a manifest, and a manifest needs no index: only tar shards do")
    listed = _list(patterns)
    for name in listed.name_S.tolist():
        if not name.lower().endswith(b".tar"):
            among = f"what '{patterns[0]}' stands for: " if len(listed) > 1 else ""
            raise DataError(f"{among}'{os.fsdecode(name)}' is no tar by its name; shards are called *.tar")
    return listed


def _list(patterns: Sequence[str]) -> ShardList:
    paths: list[str] = []
    known: dict[str, Stat] = {}
    for each in patterns:
        some, of_them = _expand(each)
        paths += some
        known |= of_them
    if len(patterns) > 1:
        paths = [*dict.fromkeys(paths)]
    parts = [_split(each) for each in paths]
    folders = dict.fromkeys((folder, bool(query)) for folder, _, query in parts)
    number = {folder: i for i, folder in enumerate(folders)}
    size_S, stamp_S, missing = _states(paths, known)
    if missing:
        raise _missing(missing, len(paths))
    queries = {i: query for i, (_, _, query) in enumerate(parts) if query}
    if len({parts[i] for i in queries}) > len({parts[i][:2] for i in queries}):
        raise DataError(f"{', '.join(patterns)}: a shard is named twice, with two queries; name one of them")
    return ShardList(
        folders=tuple(folder for folder, _ in number),
        folder_S=np.array([number[folder, bool(query)] for folder, _, query in parts], dtype=np.uint32),
        name_S=np.array([os.fsencode(name) for _, name, _ in parts]),
        size_S=size_S,
        stamp_S=stamp_S,
        queries=queries,
    )


def _states(paths: Sequence[str], known: Mapping[str, Stat]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(sizes, stamps, those that are missing)."""
    sizes, stamps, missing = array("q"), [], []
    at_once = len(paths) if any(map(store.is_url, paths)) else _AT_ONCE
    for first in range(0, len(paths), at_once):
        some = paths[first : first + at_once]
        asked = iter(store.stat_all([path for path in some if path not in known]))
        stats = [known[path] if path in known else next(asked) for path in some]
        missing += [path for path, stat in zip(some, stats, strict=True) if stat is None]
        sizes.extend(stat.size for stat in stats if stat)
        stamps.append(np.array([stat.stamp.encode() for stat in stats if stat] or [b""]))
    return np.array(sizes, dtype=np.int64), np.concatenate(stamps), missing


def _missing(missing: Sequence[str], of: int) -> DataError:
    if of == 1:
        return DataError(
            f"'{missing[0]}' does not exist" if store.is_url(missing[0]) else missing_source(missing[0])
        )
    named = [*map(repr, missing[:_FEW]), *(["…"] if len(missing) > _FEW else [])]
    relative = not store.is_url(missing[0]) and not os.path.isabs(missing[0])
    where = f"\n  source paths are relative to the working directory, {os.getcwd()}" if relative else ""
    return DataError(f"{len(missing):,} of {of:,} shards are missing: {', '.join(named)}{where}")


def _split(path: str) -> tuple[str, str, str]:
    """Folder, name and query; paths have no queries."""
    if not store.is_url(path):
        return *os.path.split(path), ""
    address, query = _without_query(path)
    folder, _, name = address.rpartition("/")
    return folder, name, query


def _without_query(path: str) -> tuple[str, str]:
    if not store.is_url(path):
        return path, ""
    address, mark, query = path.partition("?")
    return address, mark + query


def _is_pattern(path: str) -> bool:
    if store.is_url(path):
        return bool(re.search(r"[*\[]", _without_query(path)[0]))
    return bool(re.search(r"[*?\[]", path)) and not os.path.exists(path)


def _expand_braces(pattern: str) -> list[str]:
    found = _BRACES.search(pattern)
    if not found:
        return [pattern]
    span = _RANGE.fullmatch(found[1])
    if span:
        low, high = span.groups()
        width = len(low) if low.startswith("0") or len(low) == len(high) else 0
        choices = [str(i).zfill(width) for i in range(int(low), int(high) + 1)]
    elif "," in found[1]:
        choices = found[1].split(",")
    else:
        raise DataError(f"'{found[0]}' in '{pattern}' is neither a range ({{000..012}}) nor a list ({{a,b}})")
    head, tail = pattern[: found.start()], pattern[found.end() :]
    return [path for choice in choices for path in _expand_braces(head + choice + tail)]
