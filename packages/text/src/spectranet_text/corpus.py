"""Where a tokenizer's training text comes from: text files, manifests, tar shards.

Texts are streamed, so a corpus may be larger than memory.
"""

from __future__ import annotations

import csv
import json
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spectranet import ConfigError, DataError

_MANIFESTS = (".jsonl", ".csv")
_TARS = (".tar", ".tar.gz", ".tgz")
_KINDS = (".txt", *_MANIFESTS, *_TARS)
_LARGEST_BYTES = 1 << 20  # of one member or row; as for training, larger ones are not text


@dataclass
class Corpus:
    """The texts of some files, in the order given.

    Args:
        paths: .txt (a text a line), .jsonl, .csv, .tar, .tar.gz.
        column: what holds the text in a manifest.
        extension: what holds the text in a tar, as in ``key.txt``.
        where: keep only those rows of a manifest whose column has this value.

    Raises:
        ConfigError: a path is missing or of an unknown kind, or ``where`` has nothing to act on.
    """

    paths: tuple[str, ...]
    column: str = "text"
    extension: str = "txt"
    where: Mapping[str, str] = field(default_factory=dict)
    texts: int = field(default=0, init=False)
    """Texts given so far."""
    skipped: int = field(default=0, init=False)
    """Items left out so far: no text in them, not UTF-8, or larger than 1 MiB."""

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise ConfigError("\n".join(problems))

    def _problems(self) -> Iterator[str]:
        for path in self.paths:
            if not path.lower().endswith(_KINDS):
                yield f"cannot read text from '{path}'; it should end in {', '.join(_KINDS)}."
            elif not Path(path).is_file():
                yield f"there is no file '{path}'."
        if self.where and not any(path.lower().endswith(_MANIFESTS) for path in self.paths):
            yield "--where selects rows of .jsonl and .csv files; none is given."

    def lines(self) -> Iterator[str]:
        """Every line of every text that is not blank.

        Raises:
            DataError: a file is broken; names it and the place.
        """
        for path in self.paths:
            for data in self._items(path):
                text = _decoded(data)
                if text is None:
                    self.skipped += 1
                    continue
                self.texts += 1
                yield from filter(None, map(str.strip, text.splitlines()))

    def _items(self, path: str) -> Iterator[bytes | str | None]:
        lower = path.lower()
        if lower.endswith(_TARS):
            return _tar_members(path, "." + self.extension.lower().lstrip("."))
        if lower.endswith(_MANIFESTS):
            rows = _json_rows(path) if lower.endswith(".jsonl") else _csv_rows(path)
            return self._selected(path, rows)
        return _text_lines(path)

    def _selected(self, path: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[str | None]:
        seen: set[str] = set()
        for row in rows:
            seen.update(row)
            if all(str(row.get(key)) == value for key, value in self.where.items()):
                text = row.get(self.column)
                yield text if isinstance(text, str) else None
        for flag, name in (("--column", self.column), *(("--where", name) for name in self.where)):
            if seen and name not in seen:
                raise ConfigError(
                    f"'{path}' has no column '{name}' (from {flag}); it has {', '.join(sorted(seen))}."
                )


def _decoded(item: bytes | str | None) -> str | None:
    if item is None or len(item) > _LARGEST_BYTES:
        return None
    try:
        text = item.decode() if isinstance(item, bytes) else item
        text.encode()  # JSON can spell lone surrogates, which are no text
    except UnicodeError:
        return None
    return text if text.strip() and "\0" not in text else None


def _text_lines(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        yield from (line for line in file if line.strip())


def _json_rows(path: str) -> Iterator[Mapping[str, Any]]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}, line {number}: not JSON ({error})") from error
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number}: not a JSON object")
            yield row


def _csv_rows(path: str) -> Iterator[Mapping[str, Any]]:
    csv.field_size_limit(min(sys.maxsize, 1 << 30))
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield from csv.DictReader(file)
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not CSV in UTF-8 ({error})") from error


def _tar_members(path: str, extension: str) -> Iterator[bytes | None]:
    """Members named ``key.extension``; the key ends at the first dot, as in WebDataset."""
    found = False
    try:
        with tarfile.open(path, "r|*") as tar:
            for member in tar:
                name = member.name.rpartition("/")[2]
                _, dot, ending = name.partition(".")
                if not member.isreg() or (dot + ending).lower() != extension:
                    continue
                found = True
                file = tar.extractfile(member) if member.size <= _LARGEST_BYTES else None
                yield file.read() if file else None
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{path}: not a readable tar ({error})") from error
    if not found:
        raise ConfigError(
            f"'{path}' has no members that end in '{extension}'.\n"
            "  name the extension of the text:  --field EXTENSION"
        )
