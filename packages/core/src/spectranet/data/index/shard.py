"""Where are the members of each sample of one shard, and what else is known of the shard?

The index of ``000.tar`` lies beside it in ``000.tar.index``. Suffixes: K samples of the shard, M members
(those of a sample are neighbours here, wherever they are in the tar).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from spectranet.data.index.file import Unusable, pack, smallest, unpack
from spectranet.data.stores.state import Stat

__all__ = ["BLOCK", "Member", "ShardIndex", "ShardRow", "Signature"]

BLOCK = 512
"""Bytes of a tar's block: content always starts at a multiple."""

_KIND = "spectranet shard index"

Signature = tuple[str, ...]
"""The fields (extensions in lower case) of a sample, sorted."""


class Member(NamedTuple):
    """Where the content of a member lies; ``crc32`` is None where the index holds no checksums."""

    offset: int
    size: int
    crc32: int | None


@dataclass(frozen=True)
class ShardRow:
    """What a folder's summary holds of a shard.

    Attributes:
        samples: how many samples have exactly these fields.
        refused: how many members were left out, by reason.
        examples: the name of one of them, by reason; none where an older version made the index.
        broken: why the shard can be used only in part or not at all; else empty.
        readable: False where the shard could not be read, which may be different next time.
    """

    stat: Stat
    samples: dict[Signature, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    broken: str = ""
    readable: bool = True
    examples: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ShardIndex:
    """The samples of a shard, in the order in which the tar names them first.

    Attributes:
        stat: size and stamp that the shard had when it was scanned.
        signatures: the sets of fields that occur.
        keys: uint8: the bytes of all keys, one after the other; ``key_end_K`` says where each ends.
        signature_K: index into ``signatures``.
        block_M: where the content starts, in blocks of 512 bytes; members of a sample are in the order
            of its fields.
        size_M: bytes.
        crc32_M: uint32, or None where the shard was indexed without checksums.
        refused: how many members were left out, by reason.
        examples: the name of one of them, by reason; none where an older version made the index.
        broken: why the shard can be used only in part or not at all; else empty.
    """

    stat: Stat
    signatures: tuple[Signature, ...]
    keys: np.ndarray
    key_end_K: np.ndarray
    signature_K: np.ndarray
    block_M: np.ndarray
    size_M: np.ndarray
    crc32_M: np.ndarray | None = None
    refused: dict[str, int] = field(default_factory=dict)
    broken: str = ""
    examples: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.signature_K)

    @cached_property
    def _first(self) -> np.ndarray:
        """int64 (K + 1,): number of the first member of each sample, and of all."""
        fields_K = np.array([len(each) for each in self.signatures], dtype=np.int64)[self.signature_K]
        return np.concatenate([[0], np.cumsum(fields_K)])

    @property
    def nbytes(self) -> int:
        arrays = (self.keys, self.key_end_K, self.signature_K, self.block_M, self.size_M, self.crc32_M)
        return sum(0 if array is None else array.nbytes for array in arrays) + 8 * len(self)

    def key(self, sample: int) -> str:
        """Bytes that are not UTF-8 are written as ``\\xff``, so that every key can be printed."""
        start = self.key_end_K.item(sample - 1) if sample else 0
        return self.keys[start : self.key_end_K.item(sample)].tobytes().decode("utf-8", "backslashreplace")

    def signature(self, sample: int) -> Signature:
        return self.signatures[self.signature_K.item(sample)]

    def members(self, sample: int, fields: Iterable[str] | None = None) -> dict[str, Member]:
        """By field: those ``fields`` of a sample, or all that it has."""
        has, first = self.signature(sample), self._first.item(sample)
        found = {}
        for name in has if fields is None else fields:
            member = first + has.index(name)
            crc32 = None if self.crc32_M is None else self.crc32_M.item(member)
            found[name] = Member(self.block_M.item(member) * BLOCK, self.size_M.item(member), crc32)
        return found

    def row(self, stat: Stat | None = None) -> ShardRow:
        """Its line of the summary; ``stat`` is what a listing says of the same shard."""
        counts = np.bincount(self.signature_K, minlength=len(self.signatures))
        samples = {name: int(count) for name, count in zip(self.signatures, counts, strict=True)}
        stat = stat or self.stat
        return ShardRow(stat, samples, dict(self.refused), self.broken, examples=dict(self.examples))

    def to_bytes(self) -> bytes:
        arrays = {
            "keys": self.keys,
            "key_end_K": smallest(self.key_end_K),
            "signature_K": smallest(self.signature_K),
            "block_M": smallest(self.block_M),
            "size_M": smallest(self.size_M),
        }
        if self.crc32_M is not None:
            arrays["crc32_M"] = self.crc32_M
        about = {
            "size": self.stat.size,
            "stamp": self.stat.stamp,
            "signatures": self.signatures,
            "refused": self.refused,
            "broken": self.broken,
            "examples": self.examples,
        }
        return pack(_KIND, arrays, about)

    @classmethod
    def from_bytes(cls, content: bytes) -> ShardIndex:
        """Raises: Unusable: see :func:`~spectranet.data.index.file.unpack`."""
        arrays, about = unpack(_KIND, content)
        try:
            return cls(
                stat=Stat(about["size"], about["stamp"]),
                signatures=tuple(tuple(each) for each in about["signatures"]),
                crc32_M=arrays.pop("crc32_M", None),
                refused=about["refused"],
                broken=about["broken"],
                examples=about.get("examples", {}),
                **arrays,
            )
        except (KeyError, TypeError) as error:
            raise Unusable("it is damaged") from error
