"""Bytes by address: the same functions for local paths and for any URL that fsspec knows.

An address with ``://`` in it is a URL. Local files are read by the system's own calls, in microseconds,
and fsspec is not imported for them. What fails is tried again, then given up for a while; see
``patience.py`` for how long.
"""

from __future__ import annotations

import glob as local_glob
import io
import itertools
import os
import posixpath
import secrets
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from operator import itemgetter
from typing import Any, BinaryIO

from spectranet.data.stores import patience, remote
from spectranet.data.stores.patience import persist
from spectranet.data.stores.state import Stat, difference
from spectranet.errors import DataError

__all__ = [
    "Absent",
    "glob",
    "is_url",
    "list_tars",
    "open_stream",
    "read_all",
    "read_local",
    "read_range",
    "stat",
    "stat_all",
    "write_atomically",
]

_THREADS = 16
_ALONE = 16
"""So few objects of a folder are asked for one by one, since the folder may hold a million."""
_BLOCK = 4 << 20
"""What :func:`open_stream` fetches at a time: a scan of headers passes over all of a shard anyway."""


class Absent(DataError):  # noqa: N818 - an answer rather than a failure
    """There is nothing at an address."""


def is_url(path: str) -> bool:
    return "://" in path


def stat(path: str) -> Stat:
    """Size and stamp of a file or an object.

    Raises:
        Absent: it is not there; said at once.
        DataError: it cannot be asked for.
    """

    def attempt() -> Stat | None:
        try:
            return _remote_stat(path) if is_url(path) else _local_stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    found = persist(path, attempt)
    if found is None:
        raise Absent(f"'{path}' does not exist")
    return found


def stat_all(paths: Sequence[str]) -> list[Stat | None]:
    """:func:`stat` of many; None for what is absent. One listing a folder where the store has sizes in it.

    Raises:
        DataError: something cannot be asked for.
    """
    folders: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        listed = is_url(path) and remote.lists_sizes(path) and "?" not in path
        folders[posixpath.dirname(path) if listed else ""].append(path)
    found: dict[str, Stat | None] = {}
    for folder, inside in folders.items():
        if folder and len(inside) > _ALONE:
            found |= _listed(folder)
        else:
            found |= _each(inside)
    return [found.get(path) for path in paths]


def read_range(path: str, offset: int, size: int, indexed: Stat | None = None) -> bytes:
    """Exactly ``size`` bytes from ``offset`` on.

    Args:
        indexed: what a local file must still be; objects are compared when they are fetched whole.

    Raises:
        DataError: it cannot be read, ends sooner, or is another file.
    """
    if not size:
        return b""
    if is_url(path):
        return persist(path, lambda: _fetch_range(path, offset, size))
    return persist(path, lambda: read_local(path, offset, size, indexed))


def read_local(path: str, offset: int, size: int, indexed: Stat | None = None) -> bytes:
    """:func:`read_range` of a local file, tried once.

    Opening for each read costs microseconds, and keeps no state that threads could share.

    Raises:
        DataError: it ends sooner, or is another file.
        OSError: it cannot be read.
    """
    file = os.open(_local(path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        if indexed is not None:
            _compare(path, indexed, os.fstat(file))
        content = os.pread(file, size, offset)
        while len(content) < size:
            more = os.pread(file, size - len(content), offset + len(content))
            if not more:
                raise _too_short(path)
            content += more
        return content
    finally:
        os.close(file)


def read_all(path: str) -> bytes:
    """All of a file, for files that are small.

    Raises:
        Absent: it is not there; said at once. Also of a URL that is refused, since that is what public
            buckets whose listing is private answer for every name that they do not have.
        DataError: it cannot be read.
    """

    def attempt() -> bytes | None:
        try:
            if is_url(path):
                return remote.fetch(path, None, patience.PATIENCE.whole_s)
            with open(_local(path), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None
        except PermissionError:
            if is_url(path):
                return None
            raise

    content = persist(path, attempt)
    if content is None:
        raise Absent(f"'{path}' does not exist")
    return content


def open_stream(path: str) -> BinaryIO:
    """A seekable file, for reading from front to back; of a URL it fetches 4 MiB at a time.

    Raises:
        Absent: it is not there.
        DataError: it cannot be read; reading from it may raise this too.
    """
    if is_url(path):
        return io.BufferedReader(_Ranges(path, stat(path).size), _BLOCK)
    try:
        return open(_local(path), "rb")
    except FileNotFoundError as error:
        raise Absent(f"'{path}' does not exist") from error
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror or error}") from error


def write_atomically(path: str, content: bytes) -> None:
    """Write a file so that readers see the old content or the new one.

    For files that say themselves whether they are whole, as indexes do: after a power cut one may not be,
    which costs less than waiting for the disk at each of thousands.

    Raises:
        DataError: it cannot be written.
    """
    try:
        if is_url(path):
            remote.put(path, content, patience.PATIENCE.write_s)
        else:
            _replace(_local(path), content)
    except OSError as error:
        raise DataError(f"'{path}' cannot be written: {error.strerror or error}") from error


def list_tars(folder: str) -> dict[str, Stat | None]:
    """The ``*.tar`` in a folder, sorted, each with what the listing says of it; none without a folder.

    Raises:
        DataError: it cannot be listed.
    """
    if not is_url(folder):
        return dict.fromkeys(sorted(local_glob.glob(f"{local_glob.escape(_local(folder))}/*.tar")))
    listed = sorted(_listing(folder.rstrip("/")), key=itemgetter(0))
    return {address: _as_listed(address, said) for address, said in listed if address.endswith(".tar")}


def glob(pattern: str) -> dict[str, Stat | None]:
    """What matches ``*``, ``?`` and ``[…]``, sorted, each with what the listing says of it.

    Raises:
        DataError: the store cannot be listed.
    """
    if not is_url(pattern):
        return dict.fromkeys(sorted(local_glob.glob(_local(pattern))))
    found = persist(pattern, lambda: remote.glob(pattern, patience.PATIENCE.listing_s))
    return {address: _as_listed(address, said) for address, said in found.items()}


# ------------------------------------------------------------------------------------------ local


def _local(path: str) -> str:
    return os.path.expanduser(path) if path.startswith("~") else path


def _local_stat(path: str) -> Stat:
    return _as_local_stat(os.stat(_local(path)))


def _as_local_stat(found: os.stat_result) -> Stat:
    return Stat(found.st_size, str(found.st_mtime_ns))


def _compare(path: str, indexed: Stat, found: os.stat_result) -> None:
    """Raises: DataError: a shard was changed, so what its index says of it may be wrong."""
    if found.st_size != indexed.size or str(found.st_mtime_ns) != indexed.stamp:
        if changed := difference(indexed, _as_local_stat(found)):
            raise DataError(f"shard '{path}' has changed since this run began: {changed}")


def _replace(path: str, content: bytes) -> None:
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


# ------------------------------------------------------------------------------------------- URLs


def _remote_stat(url: str) -> Stat:
    return _as_stat(url, remote.info(url, patience.PATIENCE.attempt_s))


def _as_stat(url: str, said: Mapping[str, Any]) -> Stat:
    if said.get("size") is None:
        raise DataError(
            f"'{url}': the server does not say its size, so nothing can be read out of its middle"
        )
    return Stat(int(said["size"]), remote.stamp(said))


def _as_listed(url: str, said: Mapping[str, Any]) -> Stat | None:
    return _as_stat(url, said) if said.get("size") is not None and remote.lists_sizes(url) else None


def _listed(folder: str) -> dict[str, Stat | None]:
    return {
        address: _as_stat(address, said)
        for address, said in _listing(folder)
        if said.get("type") != "directory"
    }


def _listing(folder: str) -> list[tuple[str, Mapping[str, Any]]]:
    """(address, what is said of it) of everything in a folder of a store; none where there is no folder."""

    def attempt() -> list[Mapping[str, Any]]:
        try:
            return remote.listing(folder, patience.PATIENCE.listing_s)
        except (FileNotFoundError, NotADirectoryError):
            return []

    entries = persist(folder, attempt)
    return [(f"{folder}/{posixpath.basename(entry['name'])}", entry) for entry in entries]


def _each(paths: Sequence[str]) -> dict[str, Stat | None]:
    def one(path: str) -> Stat | None:
        try:
            return stat(path)
        except Absent:
            return None

    if len(paths) <= _ALONE:
        return {path: one(path) for path in paths}
    chunk = max(1, len(paths) // (8 * _THREADS))
    chunks = [paths[first : first + chunk] for first in range(0, len(paths), chunk)]
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda chunk: [one(path) for path in chunk], chunks)
        return dict(zip(paths, itertools.chain.from_iterable(found), strict=True))


def _fetch_range(url: str, offset: int, size: int) -> bytes:
    """One attempt, in the time of one attempt."""
    end_s = time.monotonic() + patience.PATIENCE.attempt_s
    try:
        content = remote.fetch(url, (offset, offset + size), patience.PATIENCE.attempt_s)
    except OSError:
        if _ends_before(url, offset + size, end_s):  # stores answer such a range in many ways
            raise _too_short(url) from None
        raise
    if len(content) > size:
        raise DataError(f"'{url}': its server gives whole files only, and ranges are needed")
    if len(content) < size:
        if _ends_before(url, offset + size, end_s):
            raise _too_short(url)
        raise OSError(f"{len(content)} bytes came instead of {size}")
    return content


def _ends_before(url: str, end: int, until_s: float) -> bool:
    """Whether an object is known to have fewer bytes than ``end``; asks until a time of the clock."""
    left_s = until_s - time.monotonic()
    if left_s <= 0:
        return False
    try:
        size = remote.info(url, left_s).get("size")
    except OSError:
        return False
    return size is not None and int(size) < end


def _too_short(path: str) -> DataError:
    return DataError(f"'{path}' is shorter than its index says; was it changed?")


class _Ranges(io.RawIOBase):
    """A URL as a file, by reads of ranges, each with the patience of :func:`read_range`."""

    def __init__(self, url: str, size: int) -> None:
        self._url, self._size, self._at = url, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = max(0, min(len(buffer), self._size - self._at))
        if count:
            buffer[:count] = read_range(self._url, self._at, count)
            self._at += count
        return count
