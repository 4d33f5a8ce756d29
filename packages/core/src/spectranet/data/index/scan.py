"""Which samples does a shard have? What its members' names make of them, and what is refused.

Suffixes: K samples of the shard, M members.
"""

from __future__ import annotations

import zlib
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from spectranet.data.index.file import smallest
from spectranet.data.index.headers import Damage, Header, Kind, headers
from spectranet.data.index.shard import BLOCK, ShardIndex
from spectranet.data.stores.state import Stat
from spectranet.data.stores.store import open_stream

__all__ = ["scan_shard"]

_PIECE = 1 << 20
_MOST_EXTENSIONS = 1000
"""Of a shard, in all. Names like ``frame_0.000123.jpg`` would give every member one of its own."""
_LONGEST_EXAMPLE = 200
"""Bytes of a name."""
_TOO_MANY = f"extension beyond the {_MOST_EXTENSIONS:,} that a shard may have (it begins at the first dot)"
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


def scan_shard(path: str, stat: Stat, *, checksums: bool = False) -> ShardIndex:
    """Read the headers of a tar, and with ``checksums`` all of it.

    Links, devices and sparse members are left out and counted, and so are names that are absolute or
    point upwards, hidden files, second members of the same name, and members with yet another extension
    where a shard has a thousand. Of a shard that is cut short or
    damaged the samples before that place are kept; ``broken`` of the index says so.

    Raises:
        DataError: it cannot be read.
    """
    samples = _Samples()
    broken = ""
    with open_stream(path) as file:
        try:
            for member in headers(file, stat.size):
                if member.kind is Kind.FOLDER:
                    continue
                reason, key, extension = _use(member)
                if reason:
                    samples.refuse(reason, member)
                elif member.offset + member.size > stat.size:
                    samples.drop(key)
                else:
                    samples.add(key, extension, member, _crc32(file, member) if checksums else 0)
        except Damage as damage:
            samples.drop_unfinished()
            broken = _what_is_wrong(file, damage, stat.size, samples.kept())
    return samples.index(stat, checksums=checksums, broken=broken)


class _Samples:
    """What was found so far, as flat arrays: a shard may have a million members."""

    def __init__(self) -> None:
        self.refused: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        """Of each reason the first member's name."""
        self._number: dict[bytes, int] = {}
        """Of each key."""
        self._fields: list[int] = []
        """Of each sample, a bit for each extension that it has."""
        self._extension: dict[bytes, int] = {}
        """Number of each extension, in the order in which they are met; by any way to write it."""
        self._names: dict[str, int] = {}
        """The same, by the extension in lower case."""
        self._sample_M, self._extension_M = array("q"), array("q")
        self._offset_M, self._size_M, self._crc32_M = array("q"), array("q"), array("L")
        self._dropped: set[int] = set()

    def refuse(self, reason: str, member: Header) -> None:
        self.refused[reason] += 1
        if reason not in self.examples:
            self.examples[reason] = _printable(member.name[:_LONGEST_EXAMPLE])

    def add(self, key: bytes, extension: bytes, member: Header, crc32: int) -> None:
        number = self._extension.get(extension)
        if number is None:
            number = self._learn(extension)
        if number == _MOST_EXTENSIONS:
            self.refuse(_TOO_MANY, member)
            return
        sample = self._number.setdefault(key, len(self._fields))
        if sample == len(self._fields):
            self._fields.append(0)
        if self._fields[sample] >> number & 1:
            self.refuse("duplicate member", member)
            return
        self._fields[sample] |= 1 << number
        self._sample_M.append(sample)
        self._extension_M.append(number)
        self._offset_M.append(member.offset)
        self._size_M.append(member.size)
        self._crc32_M.append(crc32)

    def drop(self, key: bytes) -> None:
        """Leave out a sample of which a member is cut short."""
        self._dropped.add(self._number.get(key, -1))

    def drop_unfinished(self) -> None:
        """Leave out the last sample where the one before it has fields that it lacks: the cut may be why."""
        if len(self._fields) > 1 and self._sample_M[-1] == len(self._fields) - 1:
            before, last = self._fields[-2:]
            if before & ~last and not last & ~before:
                self._dropped.add(len(self._fields) - 1)

    def kept(self) -> int:
        return len(self._fields) - len(self._dropped - {-1})

    def _learn(self, extension: bytes) -> int:
        """The number of an extension in a way to write it that was not met; ``_MOST_EXTENSIONS``: refused."""
        name = extension.decode("utf-8", "backslashreplace").lower()
        number = self._names.get(name, len(self._names))
        if number < _MOST_EXTENSIONS:
            self._names[name] = self._extension[extension] = number
        return number

    def index(self, stat: Stat, *, checksums: bool, broken: str) -> ShardIndex:
        names = [*self._names]
        kept_K = np.ones(len(self._fields), dtype=bool)
        kept_K[[sample for sample in self._dropped if sample >= 0]] = False
        keys = [key for key, sample in self._number.items() if kept_K[sample]]
        fields = [mask for mask, kept in zip(self._fields, kept_K, strict=True) if kept]
        number = {mask: i for i, mask in enumerate(dict.fromkeys(fields))}
        sample_M, extension_M = np.array(self._sample_M), np.array(self._extension_M)
        rank = np.argsort(np.argsort(np.array(names, dtype=object))) if names else extension_M
        order_M = np.lexsort((rank[extension_M], sample_M))
        order_M = order_M[kept_K[sample_M[order_M]]]
        return ShardIndex(
            stat=stat,
            signatures=tuple(_signature(mask, names) for mask in number),
            keys=np.frombuffer(b"".join(keys), dtype=np.uint8),
            key_end_K=smallest(np.cumsum([len(key) for key in keys], dtype=np.uint64)),
            signature_K=smallest([number[mask] for mask in fields]),
            block_M=smallest(np.array(self._offset_M)[order_M] // BLOCK),
            size_M=smallest(np.array(self._size_M)[order_M]),
            crc32_M=np.array(self._crc32_M, dtype=np.uint32)[order_M] if checksums else None,
            refused=dict(self.refused),
            examples=self.examples,
            broken=broken,
        )


def _signature(mask: int, names: Sequence[str]) -> tuple[str, ...]:
    """Names of the bits that are set; takes as long as there are such."""
    found = []
    while mask:
        lowest = mask & -mask
        found.append(names[lowest.bit_length() - 1])
        mask ^= lowest
    return tuple(sorted(found))


def _printable(name: bytes) -> str:
    """As a terminal can show it: a name may hold what moves its cursor."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _use(member: Header) -> tuple[str, bytes, bytes]:
    """(reason to refuse it or "", key, extension as it is written)."""
    if member.kind is not Kind.FILE:
        return "link, device or sparse member", b"", b""
    folder, base = b"", member.name
    if b"/" in base:
        parts = [part for part in base.split(b"/") if part not in (b"", b".")]
        if base.startswith(b"/") or b".." in parts:
            return "name outside the archive", b"", b""
        base = parts.pop() if parts else b""
        folder = b"".join(part + b"/" for part in parts)
    stem, _, extension = base.partition(b".")
    if not base or base in (b".", b".."):
        return "member without a name", b"", b""
    if not stem or not extension:
        return "hidden file or no extension", b"", b""
    return "", folder + stem, extension


def _crc32(file: BinaryIO, member: Header) -> int:
    file.seek(member.offset)
    value, left = 0, member.size
    while left:
        piece = file.read(min(left, _PIECE))
        if not piece:
            raise Damage(member.offset, cut=True)
        value = zlib.crc32(piece, value)
        left -= len(piece)
    return value


def _what_is_wrong(file: BinaryIO, damage: Damage, size: int, kept: int) -> str:
    if damage.offset == 0 and not kept:
        file.seek(0)
        start = file.read(8)
        if not size:
            return "is empty"
        kind = next((name for magic, name in _COMPRESSED.items() if start.startswith(magic)), "")
        if kind:
            return f"is compressed ({kind}) and cannot be read at random; decompress it"
        return "is cut short within its first member" if damage.cut and size > BLOCK else "is no tar archive"
    what = "cut short" if damage.cut else "damaged"
    used = "1 sample before it is used" if kept == 1 else f"{kept} samples before it are used"
    return f"{what} at byte {damage.offset}; {used}"
