"""Samples in WebDataset tar shards, as img2dataset, LAION and webdataset's writer make them.

A sample's key is its members' path up to the first dot of the base name, its fields are the rest in
lower case: ``a/000.jpg`` and ``a/000.seg.png`` are fields ``jpg`` and ``seg.png`` of sample
``a/000``. Members of a sample need not be neighbours, so archives of plain ``tar`` work as well.

A shard is scanned once (headers only), then every member is one ranged read. Suffixes: K samples of
a shard, M members of a shard, S shards.
"""

from __future__ import annotations

import glob
import os
import re
import tarfile
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from spectranet.contracts import RawSample
from spectranet.data.members import lacking, offered, read_fields
from spectranet.data.options import OpenOptions
from spectranet.data.paths import missing_source
from spectranet.errors import DataError

__all__ = ["ShardIndex", "TarSamples", "expand_shards", "is_webdataset", "scan_shard"]

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_BRACES = re.compile(r"\{([^{}]*)\}")
_MAGIC = re.compile(r"[*?\[]")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_BLOCK = tarfile.BLOCKSIZE


def is_webdataset(path: str) -> bool:
    lower = path.lower()
    return lower.endswith((".tar", *_COMPRESSED)) or bool(_tars_in(path))


def expand_shards(path: str) -> list[str]:
    """The shards that a path stands for: ``{000..012}`` and ``{a,b}``, globs, a folder of tars.

    Raises:
        DataError: nothing matches, a shard is missing, or it is compressed (no random access).
    """
    shards: list[str] = []
    for part in _expand_braces(os.path.expanduser(path)):
        if os.path.isdir(part):
            shards += _tars_in(part)
        elif _MAGIC.search(part) and not os.path.exists(part):
            shards += sorted(glob.glob(part))
        else:
            shards.append(part)
    if not shards:
        looked_at = os.path.abspath(os.path.expanduser(path))
        raise DataError(f"no tar shard matches '{path}'\n  looked at: {looked_at}")
    for shard in shards:
        if shard.lower().endswith(_COMPRESSED):
            raise DataError(f"shard '{shard}' is compressed and cannot be read at random; decompress it")
    missing = [shard for shard in shards if not os.path.exists(shard)]
    if missing:
        several = (
            f"{len(missing)} of {len(shards)} shards are missing; the first: " if len(shards) > 1 else ""
        )
        raise DataError(several + missing_source(missing[0]))
    return shards


@dataclass
class ShardIndex:
    """Where the members of each sample of a shard are, as flat arrays.

    Members of sample k are those from ``first[k]`` to ``first[k + 1]``.
    """

    path: str
    keys: list[str]
    extensions: list[str]
    first: np.ndarray
    """int64 (K + 1,)"""
    extension_M: np.ndarray
    """int32: index into ``extensions``."""
    offset_M: np.ndarray
    """int64: bytes from the start of the shard."""
    size_M: np.ndarray
    """int64: bytes."""
    refused: dict[str, int] = field(default_factory=dict)
    """How many members were left out, by reason."""

    def __len__(self) -> int:
        return len(self.keys)

    def members(self, sample: int) -> dict[str, tuple[int, int]]:
        """(offset, size) of each field of a sample."""
        span = slice(int(self.first[sample]), int(self.first[sample + 1]))
        names = (self.extensions[i] for i in self.extension_M[span])
        spans = zip(self.offset_M[span].tolist(), self.size_M[span].tolist(), strict=True)
        return dict(zip(names, spans, strict=True))


def scan_shard(path: str) -> ShardIndex:
    """Read the headers of a tar.

    Links, devices and sparse members are left out and counted, and so are names that are absolute
    or point upwards, and second members of the same name.

    Raises:
        DataError: it is no tar, or it was cut short (even between two members: the end marker is
            missing then); names the file.
    """
    refused: Counter[str] = Counter()
    samples: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        for member in _members(path):
            if not member.isreg() or member.sparse is not None:
                if not member.isdir():
                    refused["link, device or sparse member"] += 1
                continue
            reason, key, extension = _split_name(member.name)
            if not reason and extension in samples.setdefault(key, {}):
                reason = "duplicate member"
            if reason:
                refused[reason] += 1
            else:
                samples[key][extension] = (member.offset_data, member.size)
    except OSError as error:
        raise DataError(f"shard '{path}' cannot be read: {error.strerror or error}") from error
    except tarfile.TarError as error:
        raise DataError(f"shard '{path}' is truncated or no tar: {error}") from error
    return _pack(path, samples, dict(refused))


class TarSamples:
    """Random access to the samples of a list of shards, in the order of the shards.

    A sample's key starts with the name of its shard, since keys are unique only within one.

    Raises:
        DataError: see :func:`expand_shards` and :func:`scan_shard`.
    """

    def __init__(self, path: str, options: OpenOptions) -> None:
        if options.where:
            raise DataError(f"'{path}' is tar shards, and 'where' needs the columns of a manifest")
        self.dropped: Counter[str] = Counter()
        self._shards = [scan_shard(shard) for shard in expand_shards(path)]
        self.found = sorted({name for shard in self._shards for name in shard.extensions})
        self._kept = [self._keep(shard, options) for shard in self._shards]
        self.parts = [len(kept) for kept in self._kept]
        self._last = np.cumsum(self.parts)
        """int64 (S,): number of rows up to the end of each shard."""

    def __len__(self) -> int:
        return int(self._last[-1])

    def read(self, row: int, wanted: Sequence[str]) -> RawSample:
        """The sample in ``row``, with those of the ``wanted`` extensions that it has.

        Raises:
            DataError: the shard has vanished or is shorter than when it was indexed.
        """
        number = int(np.searchsorted(self._last, row, side="right"))
        shard, kept = self._shards[number], self._kept[number]
        sample = int(kept[row - (int(self._last[number]) - len(kept))])
        members = shard.members(sample)
        key = f"{os.path.basename(shard.path)}/{shard.keys[sample]}"
        return RawSample(
            key, read_fields(wanted, members, lambda name: _read_range(shard.path, *members[name]), key)
        )

    def _keep(self, shard: ShardIndex, options: OpenOptions) -> np.ndarray:
        self.dropped.update(shard.refused)
        kept = array("q")
        for sample in range(len(shard)):
            fields = offered(shard.members(sample), options)
            if options.met_by(fields):
                kept.append(sample)
            else:
                self.dropped["sample without " + lacking(fields, options)] += 1
        return np.array(kept, dtype=np.int64)


def _read_range(path: str, offset: int, size: int) -> bytes:
    """Opening for each read costs microseconds, and keeps no state that threads could share."""
    try:
        with open(path, "rb", buffering=0) as file:
            content = os.pread(file.fileno(), size, offset)
            while len(content) < size:
                more = os.pread(file.fileno(), size - len(content), offset + len(content))
                if not more:
                    raise DataError(f"shard '{path}' is shorter than its index says; was it changed?")
                content += more
            return content
    except OSError as error:
        raise DataError(f"shard '{path}' cannot be read: {error.strerror or error}") from error


def _members(path: str) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(path, "r:") as tar:
        while (member := tar.next()) is not None:
            yield member
            tar.members = []  # type: ignore[attr-defined]  # it would keep every header
        end, fileobj = tar.offset, tar.fileobj
        assert fileobj is not None
        # tarfile ends quietly at a damaged or missing header: only a block of zeros is a true end.
        fileobj.seek(end)
        if fileobj.read(_BLOCK) != bytes(_BLOCK):
            raise tarfile.ReadError(f"no end-of-archive marker at byte {end}")


def _split_name(name: str) -> tuple[str, str, str]:
    """(reason to refuse it or "", key, extension in lower case)."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        return "name outside the archive", "", ""
    if not parts:
        return "member without a name", "", ""
    stem, _, extension = parts[-1].partition(".")
    if not stem or not extension:
        return "hidden file or no extension", "", ""
    return "", "/".join([*parts[:-1], stem]), extension.lower()


def _pack(path: str, samples: dict[str, dict[str, tuple[int, int]]], refused: dict[str, int]) -> ShardIndex:
    samples = {key: members for key, members in samples.items() if members}
    extensions = sorted({name for members in samples.values() for name in members})
    number = {name: i for i, name in enumerate(extensions)}
    flat = [(number[name], *span) for members in samples.values() for name, span in members.items()]
    table_M3 = np.array(flat, dtype=np.int64).reshape(-1, 3)
    return ShardIndex(
        path=path,
        keys=list(samples),
        extensions=extensions,
        first=np.cumsum([0, *(len(members) for members in samples.values())], dtype=np.int64),
        extension_M=table_M3[:, 0].astype(np.int32),
        offset_M=np.ascontiguousarray(table_M3[:, 1]),
        size_M=np.ascontiguousarray(table_M3[:, 2]),
        refused=refused,
    )


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


def _tars_in(path: str) -> list[str]:
    return sorted(glob.glob(os.path.join(glob.escape(os.path.expanduser(path)), "*.tar")))
