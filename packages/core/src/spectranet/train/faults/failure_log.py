"""Which samples could not be used? ``<run_dir>/failures/rank-N.jsonl`` says it, a line for each time.

A line is ``{"step", "source", "key", "reason", "attempt"}``; steps count from 1 as in ``metrics.jsonl``,
which counts those of attempt 0: the others were to take the place of one and could not be used either.
A source gets at most 1,000 lines a rank and then one that says so: the log of a source that is bad as a
whole must not fill the disk.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from spectranet.data.failures import Skipped
from spectranet.train.distributed import World
from spectranet.train.journal.line_file import LineFile, drop_records_from, read_lines

__all__ = ["FailureLog"]

_MOST_OF_A_SOURCE = 1000


class FailureLog:
    """Of one rank. There is no file until there is something to say.

    What was written for steps that are done again is forgotten, like the records of the journal.

    Args:
        start: steps that are done already.
    """

    def __init__(self, run_dir: Path, start: int, world: World) -> None:
        self.directory = run_dir / "failures"
        self._path = self.directory / f"rank-{world.rank}.jsonl"
        drop_records_from(self._path, start)
        if world.is_main:  # an earlier start may have had more ranks
            for path, rank in _files(run_dir):
                if rank >= world.size:
                    drop_records_from(path, start)
        self._file: LineFile | None = None
        self._written = Counter(line["source"] for line in read_lines(self._path) if "source" in line)

    def write(self, step: int, skipped: Sequence[Skipped]) -> None:
        lines = []
        for each in skipped:
            self._written[each.source] += 1
            entry = {"step": step, "source": each.source}
            if self._written[each.source] <= _MOST_OF_A_SOURCE:
                lines.append(entry | {"key": each.key, "reason": each.reason, "attempt": each.attempt})
            elif self._written[each.source] == _MOST_OF_A_SOURCE + 1:
                lines.append(entry | {"note": f"{_MOST_OF_A_SOURCE} are listed; the rest is only counted"})
        if lines:
            self._append(lines)

    def _append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """A full disk ends no run: the file keeps what it cannot write until it can."""
        if self._file is None:
            with suppress(OSError):
                self.directory.mkdir(exist_ok=True)
                self._file = LineFile(self._path)
        for line in lines if self._file is not None else ():
            self._file.write(line)


def _files(run_dir: Path) -> list[tuple[Path, int]]:
    """The files and their ranks, in the order of the ranks."""
    found = [
        (path, int(name[1]))
        for path in run_dir.glob("failures/rank-*.jsonl")
        if (name := re.fullmatch(r"rank-(\d+)\.jsonl", path.name))
    ]
    return sorted(found, key=lambda each: each[1])
