"""Samples listed in a JSONL or CSV manifest: a row each, columns hold text or paths of files.

What a column holds goes by its name, never by its value:

1. a name ending in ``_path`` or ``_file`` holds a path;
2. ``text``, ``txt`` and ``caption`` hold the text itself, and so does any column that the source's
   ``fields`` option gives to a modality which declares one of those names among its own fields
   (``fields: {text: title}``);
3. every other column holds a path.

Paths are relative to the manifest's folder and stay inside it. Column names are compared in lower
case. A column that is absent, null or empty counts as a field that the sample does not have. A CSV is
separated by the first of comma, semicolon and tab that its header has.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spectranet.contracts import RawSample
from spectranet.data.left_out import LeftOut
from spectranet.data.members import encoded, lacking, one_value
from spectranet.data.options import OpenOptions
from spectranet.data.paths import missing_source
from spectranet.data.stores.store import Absent, read_all
from spectranet.data.where import RowFilter, as_text
from spectranet.errors import DataError

__all__ = ["LITERAL_COLUMNS", "ManifestSamples"]

LITERAL_COLUMNS = frozenset({"text", "txt", "caption"})
_PATH_ENDINGS = ("_path", "_file")
_SEPARATORS = (",", ";", "\t")


class ManifestSamples:
    """Random access to the rows of a manifest; holds three integers a row, not the rows.

    Attributes:
        identity: a digest of the rows that are kept, as they are written.

    Raises:
        DataError: the file is missing, empty or cannot be read, or a ``where`` column occurs in no row.
    """

    def __init__(self, path: str, options: OpenOptions) -> None:
        self.path = Path(path).expanduser()
        self._literal = LITERAL_COLUMNS | options.literal
        self._delimiter: str | None = {".csv": ",", ".tsv": "\t"}.get(self.path.suffix.lower())
        self._header: list[str] = []
        self.dropped: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        try:
            self._index(options)
        except FileNotFoundError as error:
            raise DataError(missing_source(path)) from error
        except OSError as error:
            raise DataError(f"manifest '{self.path}' cannot be read: {error.strerror or error}") from error

    def __len__(self) -> int:
        return len(self._start_K)

    def read(self, row: int, wanted: Sequence[str]) -> RawSample:
        """The sample in ``row``, with those of the ``wanted`` columns that are not empty.

        Raises:
            DataError: the row or one of its files cannot be read; names the manifest and the line.
        """
        place = self.key(row)
        columns = self._columns(row, place)
        key = columns.get("key") or columns.get("id") or place
        fields = {}
        for name in wanted:
            value = columns.get(name)
            if not _is_empty(value):
                fields[name] = self._content(name, value, place)
        return RawSample(str(key), fields)

    def key(self, row: int) -> str:
        """Where a row stands, for when it cannot be read: ``pairs.jsonl:17``."""
        return f"{self.path.name}:{self._line_K[row]}"

    def _content(self, column: str, value: Any, place: str) -> bytes:
        one_value(value, place, column)
        if column in self._literal and not column.endswith(_PATH_ENDINGS):
            return encoded(as_text(value), place, column)
        relative = os.path.normpath(encoded(as_text(value), place, column).decode())
        if os.path.isabs(relative) or relative.split(os.sep)[0] == os.pardir or "\0" in relative:
            raise DataError(
                f"{place}: column '{column}' names '{value}', which is outside the manifest's folder; "
                "paths must be relative to the manifest and below it"
            )
        try:
            return read_all(str(self.path.parent / relative))
        except Absent as error:
            raise DataError(f"{place}: file '{value}' does not exist") from error
        except DataError as error:
            raise DataError(f"{place}: {error}") from error

    def _columns(self, row: int, place: str) -> dict[str, Any]:
        start, end = int(self._start_K[row]), int(self._end_K[row])
        with open(self.path, "rb") as file:
            file.seek(start)
            record = file.read(end - start)
        try:
            return self._parse(record)
        except DataError as error:
            raise DataError(
                f"{place}: the row cannot be read any more ({error}); was '{self.path}' changed?"
            ) from error

    def _parse(self, record: bytes) -> dict[str, Any]:
        """Columns of a row by lower-case name.

        Raises:
            DataError: it is broken; says why, and leaves it to the caller to say where.
        """
        try:
            text = record.decode("utf-8-sig")
            if self._delimiter is None:
                parsed = json.loads(text)
            else:
                parsed = dict(zip(self._header, next(self._csv_rows([text])), strict=False))
        except json.JSONDecodeError as error:
            raise DataError(f"{error.msg} at character {error.colno}") from error
        except UnicodeDecodeError as error:
            raise DataError("it is not UTF-8 text") from error
        except (ValueError, RecursionError, csv.Error, StopIteration) as error:
            raise DataError(str(error) or "it is no row") from error
        if not isinstance(parsed, dict):
            raise DataError("it is no JSON object with the columns' names")
        return {name.lower(): value for name, value in parsed.items()}

    def _csv_rows(self, lines: Any) -> Iterator[list[str]]:
        return csv.reader(lines, delimiter=self._delimiter or ",")

    def _index(self, options: OpenOptions) -> None:
        where = RowFilter(options)
        kept = hashlib.blake2b(digest_size=8)
        found: Counter[str] = Counter()
        spans: list[tuple[int, int, int]] = []
        left_out = LeftOut()
        rows = 0
        for start, end, line, record in self._records():
            rows += 1
            try:
                columns = self._parse(record)
            except DataError as error:
                left_out.add("row that cannot be parsed", f"line {line}: {error}")
                continue
            filled = {name for name, value in columns.items() if not _is_empty(value)}
            keeps = where.keeps(columns)
            for name in columns:
                found[name] += keeps and name in filled
            if not keeps:
                continue
            if options.met_by(filled):
                spans.append((start, end, line))
                kept.update(record)
            else:
                left_out.add("row without " + lacking(filled, options), f"line {line}")
        if not rows:
            header_only = " but for its header" if self._header else ""
            raise DataError(f"'{self.path}' is empty{header_only}")
        self.dropped = left_out.by_reason()
        self.found = found
        self.identity = kept.hexdigest()
        if problems := list(where.problems(found)):
            raise DataError("\n".join(f"manifest '{self.path}' {problem}" for problem in problems))
        table_K3 = np.array(spans, dtype=np.int64).reshape(-1, 3)
        self._start_K, self._end_K, self._line_K = (np.ascontiguousarray(table_K3[:, i]) for i in range(3))

    def _records(self) -> Iterator[tuple[int, int, int, bytes]]:
        """(start, end, line number, bytes) of every row that is not blank."""
        with open(self.path, "rb") as file:
            if self._delimiter is None:
                yield from _lines(file)
                return
            if self._delimiter == ",":
                self._delimiter = _separator(file.readline())
                file.seek(0)
            feed = _LineFeed(file)
            rows = self._csv_rows(feed)
            try:
                self._header = [name.strip().lower() for name in next(rows, [])]
            except csv.Error as error:
                raise DataError(
                    f"manifest '{self.path}': its first line is no CSV header: {error}"
                ) from error
            while True:
                feed.begin()
                try:
                    row = next(rows, None)
                except csv.Error:
                    row = [""]
                if row is None:
                    return
                if row:
                    yield feed.start, feed.offset, feed.first_line, feed.record


class _LineFeed:
    """Lines of a binary file as text for ``csv``, which joins those of a quoted field."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.offset = 0
        self._line = 0
        self.begin()

    def begin(self) -> None:
        self.start, self.first_line, self.record = self.offset, self._line + 1, b""

    def __iter__(self) -> _LineFeed:
        return self

    def __next__(self) -> str:
        line: bytes = self._file.readline()
        if not line:
            raise StopIteration
        encoding = "utf-8-sig" if self.offset == 0 else "utf-8"
        self.offset += len(line)
        self._line += 1
        self.record += line
        return line.decode(encoding, errors="replace")


def _separator(header: bytes) -> str:
    """Of a CSV, which spreadsheets write with semicolons where the comma is for decimals."""
    return next((each for each in _SEPARATORS if each.encode() in header), _SEPARATORS[0])


def _lines(file: Any) -> Iterator[tuple[int, int, int, bytes]]:
    start = 0
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield start, start + len(line), number, line
        start += len(line)


def _is_empty(value: Any) -> bool:
    return value is None or value == ""
