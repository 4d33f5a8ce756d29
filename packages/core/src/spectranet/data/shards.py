"""Which shards does a path stand for?"""

from __future__ import annotations

import hashlib
import os
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spectranet.data.paths import missing_source
from spectranet.data.stores import store
from spectranet.data.stores.state import Stat
from spectranet.errors import DataError

__all__ = ["ShardList", "expand_shards", "is_webdataset", "list_shards"]

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_BRACES = re.compile(r"\{([^{}]*)\}")
_AT_ONCE = 4096
"""Local shards whose state is asked for together; the answers are packed before the next."""
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def is_webdataset(path: str) -> bool:
    name = path.partition("?")[0] if store.is_url(path) else path
    return name.lower().endswith((".tar", *_COMPRESSED)) or bool(store.list_tars(path))


def expand_shards(path: str) -> list[str]:
    """The shards that a path stands for: ``{000..012}`` and ``{a,b}``, globs, a folder of tars.

    Whether what is named in full exists is not looked at here.

    Raises:
        DataError: nothing matches, or a shard is compressed (no random access).
    """
    shards: list[str] = []
    for part in _expand_braces(os.path.expanduser(path)):
        if _is_pattern(part):
            shards += store.glob(part)
        elif part.lower().endswith((".tar", *_COMPRESSED)) and not os.path.isdir(part):
            shards.append(part)
        else:
            shards += store.list_tars(part) or ([] if os.path.isdir(part) else [part])
    if not shards:
        looked_at = path if store.is_url(path) else os.path.abspath(os.path.expanduser(path))
        raise DataError(f"no tar shard matches '{path}'\n  looked at: {looked_at}")
    for shard in shards:
        if shard.lower().endswith(_COMPRESSED):
            raise DataError(f"shard '{shard}' is compressed and cannot be read at random; decompress it")
    return shards


@dataclass(frozen=True)
class ShardList:
    """S shards and their state, kept in few bytes: a corpus may have a million.

    Attributes:
        folders: as written, without the slash at the end.
        folder_S: index into ``folders``.
        name_S: names in their folders, as bytes.
        size_S: bytes of each tar.
        stamp_S: stamp of each tar, as bytes.
    """

    folders: tuple[str, ...]
    folder_S: np.ndarray
    name_S: np.ndarray
    size_S: np.ndarray
    stamp_S: np.ndarray

    def __len__(self) -> int:
        return len(self.folder_S)

    def name(self, shard: int) -> str:
        return os.fsdecode(bytes(self.name_S[shard]))

    def address(self, shard: int) -> str:
        folder, name = self.folders[self.folder_S[shard]], self.name(shard)
        return f"{folder}/{name}" if store.is_url(folder) else os.path.join(folder, name)

    @property
    def identity(self) -> str:
        """A digest of the names and sizes, in order; the same for a copy in another place."""
        digest = hashlib.blake2b(self.size_S.astype("<i8").tobytes(), digest_size=8)
        # A URL may end in a query, which is how it was signed this time.
        digest.update(b"\0".join(name.partition(b"?")[0] for name in self.name_S.tolist()))
        return digest.hexdigest()

    def stat(self, shard: int) -> Stat:
        return Stat(int(self.size_S[shard]), bytes(self.stamp_S[shard]).decode())


def list_shards(path: str) -> ShardList:
    """The shards that a path stands for, and their state now.

    Raises:
        DataError: see :func:`expand_shards`; or a shard is missing.
    """
    paths = expand_shards(path)
    pairs = [_split(each) for each in paths]
    number = {folder: i for i, folder in enumerate(dict.fromkeys(folder for folder, _ in pairs))}
    size_S, stamp_S, missing = _states(paths)
    if missing:
        raise _missing(missing, len(paths))
    return ShardList(
        folders=tuple(number),
        folder_S=np.array([number[folder] for folder, _ in pairs], dtype=np.uint32),
        name_S=np.array([os.fsencode(name) for _, name in pairs]),
        size_S=size_S,
        stamp_S=stamp_S,
    )


def _states(paths: Sequence[str]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(sizes, stamps, those that are missing)."""
    sizes, stamps, missing = array("q"), [], []
    at_once = len(paths) if any(map(store.is_url, paths)) else _AT_ONCE
    for first in range(0, len(paths), at_once):
        some = paths[first : first + at_once]
        stats = store.stat_all(some)
        missing += [path for path, stat in zip(some, stats, strict=True) if stat is None]
        sizes.extend(stat.size for stat in stats if stat)
        stamps.append(np.array([stat.stamp.encode() for stat in stats if stat] or [b""]))
    return np.array(sizes, dtype=np.int64), np.concatenate(stamps), missing


def _missing(missing: Sequence[str], of: int) -> DataError:
    several = f"{len(missing)} of {of} shards are missing; the first: " if of > 1 else ""
    first = missing[0]
    return DataError(
        several + (f"'{first}' does not exist" if store.is_url(first) else missing_source(first))
    )


def _split(path: str) -> tuple[str, str]:
    if not store.is_url(path):
        return os.path.split(path)
    folder, _, name = path.rpartition("/")
    return folder, name


def _is_pattern(path: str) -> bool:
    if store.is_url(path):
        return bool(re.search(r"[*\[]", path))  # not "?": it begins a query
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
