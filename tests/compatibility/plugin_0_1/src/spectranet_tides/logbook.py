"""A text file: a remark a line, a tab, and the levels that it is about. ``#`` begins a line to leave out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from spectranet import DataError, OpenOptions, RawSample, SampleSet


class Logbook(SampleSet):
    def __init__(self, path: str, options: OpenOptions) -> None:
        if options.where:
            raise DataError(f"'{path}' has no columns for 'where'")
        self.path = path
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"'{path}' cannot be read: {error}") from error
        lines = text.splitlines()
        self.rows = [line for line in lines if "\t" in line and not line.startswith("#")]
        self.dropped = {"remarks without levels": len(lines) - len(self.rows)}
        self.found = {"txt": len(self.rows), "tide": len(self.rows)}
        self.parts = [len(self.rows)]
        self.broken: dict[str, str] = {}
        self.identity = hashlib.sha256(text.encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.rows)

    def key(self, row: int) -> str:
        return f"{Path(self.path).name}:{row}"

    def ahead(self, parts: Sequence[int]) -> None:
        """All of it is in memory."""

    def read(self, row: int, wanted: Sequence[str]) -> RawSample:
        remark, levels = self.rows[row].split("\t")
        fields = {"txt": remark.encode(), "tide": levels.encode()}
        return RawSample(self.key(row), {name: fields[name] for name in fields if name in wanted})
