"""What is known of all shards of a folder, in one file, so that opening a million reads few?

``shards.index``: name, size and stamp of each shard, how many samples have which fields, what was refused
and what is broken. Suffixes: S shards, C counts that are not zero.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spectranet.data.index.file import Unusable, pack, smallest, unpack
from spectranet.data.index.shard import ShardRow

__all__ = ["SUMMARY", "Summary", "Tally", "stamp_hash"]

SUMMARY = "shards.index"

_KIND = "spectranet folder index"


@dataclass(frozen=True)
class Tally:
    """How often each of a few labels occurs in each shard; most occur in all or in none."""

    labels: tuple[Any, ...] = ()
    shard_C: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint32))
    label_C: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))
    count_C: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))

    @classmethod
    def of(cls, counts: Sequence[Mapping[Any, int]]) -> Tally:
        """From the counts of each shard."""
        number = {
            label: i for i, label in enumerate(dict.fromkeys(label for each in counts for label in each))
        }
        flat = [(s, number[label], count) for s, each in enumerate(counts) for label, count in each.items()]
        table_C3 = np.array(flat, dtype=np.int64).reshape(-1, 3)
        return cls(tuple(number), table_C3[:, 0], table_C3[:, 1], table_C3[:, 2]).sorted()

    def sorted(self) -> Tally:
        """By shard, then label; labels that do not occur are left out. Equal tallies are then the same."""
        used = sorted({self.labels[i] for i in np.unique(self.label_C)})
        number = {label: i for i, label in enumerate(used)}
        to = np.array([number.get(label, 0) for label in self.labels], dtype=np.int64)
        label_C = to[self.label_C] if len(to) else self.label_C
        order = np.lexsort((label_C, self.shard_C))
        shard_C = self.shard_C[order].astype(np.uint32)
        return Tally(tuple(used), shard_C, smallest(label_C[order]), smallest(self.count_C[order]))

    def per_shard(self, shards: int, labels: Sequence[bool]) -> np.ndarray:
        """int64 (S,): the sum of the counts of the chosen ``labels`` in each shard."""
        chosen_C = np.asarray(labels, dtype=bool)[self.label_C]
        # Sums of float64 are exact up to 2**53.
        return np.bincount(self.shard_C[chosen_C], self.count_C[chosen_C], minlength=shards).astype(np.int64)

    def totals(self, times_S: np.ndarray) -> dict[Any, int]:
        """Of each label, where shard s counts ``times_S[s]`` times; labels that do not occur are left out."""
        sums = np.bincount(self.label_C, self.count_C * times_S[self.shard_C], minlength=len(self.labels))
        return {label: int(total) for label, total in zip(self.labels, sums, strict=True) if total}

    def moved(self, to_S: np.ndarray) -> Tally:
        """The same where shard s has number ``to_S[s]``; those with -1 are left out."""
        kept_C = to_S[self.shard_C] >= 0
        shard_C = to_S[self.shard_C[kept_C]].astype(np.uint32)
        return Tally(self.labels, shard_C, self.label_C[kept_C], self.count_C[kept_C])

    def plus(self, other: Tally) -> Tally:
        """The counts of both, which are of different shards."""
        shifted_C = other.label_C.astype(np.int64) + len(self.labels)
        labels = (*self.labels, *other.labels)
        shard_C = np.concatenate([self.shard_C, other.shard_C])
        label_C = np.concatenate([self.label_C.astype(np.int64), shifted_C])
        return Tally(labels, shard_C, label_C, np.concatenate([self.count_C, other.count_C])).sorted()


@dataclass(frozen=True)
class Summary:
    """Attributes:
    name_S: names in the folder, as bytes, sorted.
    size_S: bytes of each tar.
    stamp_S: uint32: :func:`stamp_hash` of each tar's stamp.
    samples: how many samples have exactly which fields.
    refused: how many members were left out, by reason.
    broken: by name, why a shard can be used only in part or not at all.
    examples: by reason, one member that was left out: the name of its shard (the first that has any) and
        its own.
    """

    name_S: np.ndarray = field(default_factory=lambda: np.zeros(0, "S1"))
    size_S: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    stamp_S: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint32))
    samples: Tally = field(default_factory=Tally)
    refused: Tally = field(default_factory=Tally)
    broken: dict[str, str] = field(default_factory=dict)
    examples: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.name_S)

    def find(self, name_N: np.ndarray) -> np.ndarray:
        """int64 (N,): number of each name, -1 where it is not here."""
        if not len(self):
            return np.full(len(name_N), -1)
        at_N = np.minimum(np.searchsorted(self.name_S, name_N), len(self) - 1)
        return np.where(self.name_S[at_N] == name_N, at_N, -1)

    def updated(self, rows: Mapping[str, ShardRow]) -> Summary:
        """With these rows, by name, added or in the place of those that it has."""
        if not rows:
            return self
        names = sorted(rows, key=os.fsencode)
        ordered = [rows[name] for name in names]
        return self.joined(
            Summary(
                name_S=np.array([os.fsencode(name) for name in names]),
                size_S=np.array([row.stat.size for row in ordered], dtype=np.uint64),
                stamp_S=np.array([stamp_hash(row.stat.stamp) for row in ordered], dtype=np.uint32),
                samples=Tally.of([row.samples for row in ordered]),
                refused=Tally.of([row.refused for row in ordered]),
                broken={name: row.broken for name, row in rows.items() if row.broken},
                examples=_first(
                    (reason, (name, member))
                    for name in names
                    for reason, member in rows[name].examples.items()
                ),
            )
        )

    def only(self, chosen: np.ndarray) -> Summary:
        """With the rows of these numbers, which ascend, and no others."""
        to_S = np.full(len(self), -1)
        to_S[chosen] = np.arange(len(chosen))
        named = self.broken or self.examples
        names = {*map(os.fsdecode, self.name_S[chosen].tolist())} if named else ()
        return Summary(
            name_S=self.name_S[chosen],
            size_S=self.size_S[chosen],
            stamp_S=self.stamp_S[chosen],
            samples=self.samples.moved(to_S).sorted(),
            refused=self.refused.moved(to_S).sorted(),
            broken={name: why for name, why in self.broken.items() if name in names},
            examples={why: example for why, example in self.examples.items() if example[0] in names},
        )

    def joined(self, other: Summary) -> Summary:
        """With the rows of another added or in the place of its own."""
        if not len(self) or not len(other):
            return other if len(other) else self
        kept = np.flatnonzero(other.find(self.name_S) < 0)
        name_S = np.concatenate([self.name_S[kept], other.name_S])
        order = np.argsort(name_S)
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        mine_to, other_to = np.full(len(self), -1), rank[len(kept) :]
        mine_to[kept] = rank[: len(kept)]
        named = self.broken or self.examples
        theirs = {*map(os.fsdecode, other.name_S.tolist())} if named else ()
        mine = [each for each in self.examples.items() if each[1][0] not in theirs]
        return Summary(
            name_S=name_S[order],
            size_S=np.concatenate([self.size_S[kept], other.size_S])[order],
            stamp_S=np.concatenate([self.stamp_S[kept], other.stamp_S])[order],
            samples=self.samples.moved(mine_to).plus(other.samples.moved(other_to)),
            refused=self.refused.moved(mine_to).plus(other.refused.moved(other_to)),
            broken={name: why for name, why in self.broken.items() if name not in theirs} | other.broken,
            examples=_first([*mine, *other.examples.items()]),
        )

    def to_bytes(self) -> bytes:
        arrays = {
            "name": self.name_S.view(np.uint8).reshape(len(self), -1),
            "size": smallest(self.size_S),
            "stamp": self.stamp_S,
        }
        about: dict[str, Any] = {"broken": self.broken, "examples": self.examples}
        for what, tally in (("samples", self.samples), ("refused", self.refused)):
            arrays |= {f"{what}_shard": tally.shard_C, f"{what}_label": tally.label_C}
            arrays[f"{what}_count"] = tally.count_C
            about[what] = tally.labels
        return pack(_KIND, arrays, about)

    @classmethod
    def from_bytes(cls, content: bytes) -> Summary:
        """Raises: Unusable: see :func:`~spectranet.data.index.file.unpack`."""
        arrays, about = unpack(_KIND, content)
        try:
            tallies = {
                what: Tally(labels, *(arrays[f"{what}_{part}"] for part in ("shard", "label", "count")))
                for what, labels in (
                    ("samples", tuple(tuple(label) for label in about["samples"])),
                    ("refused", tuple(about["refused"])),
                )
            }
            name = arrays["name"]
            name_S = np.ascontiguousarray(name).view(f"S{max(1, name.shape[1])}").reshape(-1)
            examples = {why: (name, member) for why, (name, member) in about.get("examples", {}).items()}
            named = {"broken": about["broken"], "examples": examples}
            return cls(name_S, arrays["size"], arrays["stamp"], **tallies, **named)
        except (KeyError, TypeError, IndexError) as error:
            raise Unusable("it is damaged") from error


def _first(examples: Iterable[tuple[str, tuple[str, str]]]) -> dict[str, tuple[str, str]]:
    """Of each reason the example of the shard whose name is the first, in whatever order they come."""
    found: dict[str, tuple[str, str]] = {}
    for reason, example in examples:
        found[reason] = min(example, found.get(reason, example))
    return found


def stamp_hash(stamp: str) -> int:
    """32 bits of a stamp; 0 for an empty one, which says nothing."""
    return (zlib.crc32(stamp.encode()) or 1) if stamp else 0
