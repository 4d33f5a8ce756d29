"""Which members does a tar have, and where? Read from its headers alone, several times faster than tarfile.

Ustar, GNU and PAX headers, and those of old Unix tars; sizes in octal or base 256. What tarfile makes
of an archive is what this makes of it (a test compares them), but that names are bytes, and that damage
is told with its place.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import BinaryIO, NamedTuple

from spectranet.data.index.shard import BLOCK

__all__ = ["Damage", "Header", "Kind", "headers"]

_END = bytes(BLOCK)
_WITHOUT_CONTENT = frozenset(b"123456")
_LONGEST_EXTENSION = 1 << 20
_LARGEST = 1 << 60
"""Bytes of a member, an exabyte: a larger size is damage."""
_LEAST_READ, _MOST_READ = 4 << 10, 256 << 10


class Kind(Enum):
    FILE = 0
    FOLDER = 1
    OTHER = 2
    """A link, device, sparse file or something unknown."""


class Header(NamedTuple):
    name: bytes
    kind: Kind
    offset: int
    """Of the content, in bytes from the start of the archive."""
    size: int


class Damage(Exception):  # noqa: N818 - the scan goes on with what came before it
    """The archive ends, or makes no sense from here on.

    Attributes:
        offset: where, in bytes.
        cut: whether the archive ends there, without the blocks of zeros that mark the end of one.
    """

    def __init__(self, offset: int, *, cut: bool) -> None:
        super().__init__(offset, cut)
        self.offset = offset
        self.cut = cut


@dataclass
class _Said:
    """What an extension (GNU's long names, PAX records) says of the member that follows it."""

    name: bytes | None = None
    size: int | None = None
    sparse: bool = False


def headers(file: BinaryIO, length: int) -> Iterator[Header]:
    """The members of an archive of ``length`` bytes, in order, up to its end or the first damage.

    A member is given also when the archive ends inside its content.

    Raises:
        Damage: after the last member before it.
    """
    blocks = _Blocks(file)
    said, everywhere = _Said(), _Said()
    start = at = 0
    while True:
        # A size may point to where no file system can seek.
        block = blocks.at(at) if at < length else b""
        if len(block) < BLOCK:
            raise Damage(min(start, length), cut=True)
        if block[0] == 0 and block == _END:
            return
        try:
            size = said.size if said.size is not None else _number(block[124:136])
            if not _is_sound(block):
                raise ValueError
            kind = block[156]
            if kind in b"LKxgX":
                content = _extension(file, at, _number(block[124:136]))
                _learn(kind, content, said)
                if kind == ord("g"):
                    everywhere = replace(said)
                at += BLOCK + _padded(len(content))
                continue
            at = _behind_sparse_map(blocks, at, block) + BLOCK
        except EOFError as error:
            raise Damage(start, cut=True) from error
        except ValueError as error:
            raise Damage(start, cut=False) from error
        name = said.name or _name(block)
        yield Header(name, _kind(kind, name, said.sparse), at, size)
        if kind not in _WITHOUT_CONTENT:
            at += _padded(size)
        start, said = at, replace(everywhere)


class _Blocks:
    """Blocks of a file, which reads much at a time while they lie close together, and little where not."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._buffer = b""
        self._start = 0
        self._read = _LEAST_READ * 4
        self._hits = 0

    def at(self, offset: int) -> bytes:
        """The block at ``offset``; shorter at the end of the file."""
        inside = offset - self._start
        if inside + BLOCK > len(self._buffer):
            self._read = (
                min(2 * self._read, _MOST_READ) if self._hits > 4 else max(self._read // 2, _LEAST_READ)
            )
            self._hits = 0
            self._file.seek(offset)
            self._buffer, self._start, inside = self._file.read(self._read), offset, 0
        self._hits += 1
        return self._buffer[inside : inside + BLOCK]


def _is_sound(block: bytes) -> bool:
    """Whether the header's own checksum, over its bytes or (by old programs) signed bytes, holds.

    The low half of an Adler-32 is 1 + the sum of the bytes modulo 65521 (RFC 1950), at the speed of C.
    """
    field = block[148:156]
    others = _number(field) - 8 * ord(" ")
    if ((zlib.adler32(block) & 0xFFFF) - 1 - sum(field) - others) % 65521 == 0:
        return True
    return sum(byte - 256 if byte > 127 else byte for byte in block[:148] + block[156:]) == others


def _number(digits: bytes) -> int:
    """Octal digits, or base 256 where the first bit is set. Raises: ValueError: neither, or no size."""
    if digits[0] == 0x80:
        return _as_size(int.from_bytes(digits[1:], "big"))
    return _as_size(int(digits.partition(b"\0")[0].strip() or b"0", 8))


def _as_size(number: int) -> int:
    if not 0 <= number <= _LARGEST:  # less than 0 would send the scan backwards
        raise ValueError("no size")
    return number


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _name(block: bytes) -> bytes:
    name = block[:100].partition(b"\0")[0]
    if block[345] and block[257:263] == b"ustar\0":  # GNU's own format keeps times there
        return block[345:500].partition(b"\0")[0] + b"/" + name
    return name


def _kind(kind: int, name: bytes, sparse: bool) -> Kind:
    if sparse:
        return Kind.OTHER
    if kind == ord("5") or (kind == 0 and name.endswith(b"/")):
        return Kind.FOLDER
    return Kind.FILE if kind in b"0\x007" else Kind.OTHER


def _behind_sparse_map(blocks: _Blocks, at: int, block: bytes) -> int:
    """Offset of the last header block of a member: GNU's old sparse files have more than one.

    Raises:
        EOFError: it is cut short.
    """
    more = block[156] == ord("S") and block[482]
    while more:
        at += BLOCK
        block = blocks.at(at)
        if len(block) < BLOCK:
            raise EOFError
        more = block[504]
    return at


def _extension(file: BinaryIO, at: int, size: int) -> bytes:
    """The content of an extension header.

    Raises:
        ValueError: it is absurdly long.
        EOFError: it is cut short.
    """
    if size > _LONGEST_EXTENSION:
        raise ValueError
    file.seek(at + BLOCK)
    content = file.read(size)
    if len(content) < size:
        raise EOFError
    return content


def _learn(kind: int, content: bytes, said: _Said) -> None:
    """Raises: ValueError: the records of a PAX header are damaged."""
    if kind == ord("L"):
        said.name = content.partition(b"\0")[0]
    if kind not in b"xgX":
        return
    for key, value in _records(content):
        if key == b"path":
            said.name = value
        elif key == b"size":
            said.size = _as_size(int(value))
        elif key.startswith(b"GNU.sparse."):
            said.sparse = True


def _records(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of each ``<length> <key>=<value>\\n``."""
    at = 0
    while at < len(content) and content[at]:
        space = content.index(b" ", at)
        length = int(content[at:space])
        if length <= 0 or at + length > len(content):
            raise ValueError
        key, _, value = content[space + 1 : at + length - 1].partition(b"=")
        yield key, value
        at += length
