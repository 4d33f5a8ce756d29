"""What did a run write down about itself?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from spectranet.data.failures import Skipped
from spectranet.errors import DataError
from spectranet.train.journal.line_file import read_lines

__all__ = ["Point", "RunRecords", "read_run"]

_MOST_FAILURES = 100_000
"""A table of the commonest reasons is no better for more."""

_LARGEST = 1e100

_EVENT = {"time", "kind", "text"}

Point = tuple[int, float]
"""(step, value)."""


@dataclass(frozen=True)
class RunRecords:
    """A run directory, read.

    Attributes:
        name: of the directory.
        facts: ``run.json``; empty where it is missing.
        records: ``metrics.jsonl`` in order, each with an integer ``step``.
        gallery: ``gallery.json``; empty where it is missing.
        failures: the samples that could not be used, as far as they are listed; see ``failed/…`` in the
            records for how many there were.
        notes: what could not be read, a sentence each.
        events: ``events.jsonl`` in order: ``step``, ``time``, ``kind`` and ``text`` of each.
    """

    name: str
    facts: dict[str, Any]
    records: list[dict[str, Any]]
    gallery: dict[str, Any] = field(default_factory=dict)
    failures: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    def names(self) -> list[str]:
        """Every figure that was logged, in the order of first appearance."""
        return self._names

    @cached_property
    def _names(self) -> list[str]:
        names: dict[str, None] = {}
        for record in self.records:
            names.update(dict.fromkeys(record))
        return [key for key in names if key not in ("step", "time")]

    def series(self, key: str) -> list[Point]:
        """The finite values of a figure."""
        return [(r["step"], float(r[key])) for r in self.records if key in r and _is_finite(r[key])]

    def gaps(self, key: str) -> int:
        """How many values of a figure were infinite or no number."""
        return sum(key in r and not _is_finite(r[key]) for r in self.records)

    def last(self, key: str) -> float | None:
        points = self.series(key)
        return points[-1][1] if points else None

    def evaluations(self) -> list[tuple[int, dict[str, float]]]:
        """(step, figures without the prefix ``eval/``) of each evaluation."""
        found = []
        for record in self.records:
            figures = {k[5:]: float(v) for k, v in record.items() if k.startswith("eval/") and _is_finite(v)}
            if figures:
                found.append((record["step"], figures))
        return found

    @property
    def step(self) -> int:
        return max(int(record["step"]) for record in self.records)

    def training_s(self) -> float | None:
        """Seconds spent in training steps, without evaluations and pauses; None if never logged."""
        total, before, known = 0.0, 0, False
        for step, seconds_per_step in self.series("seconds_per_step"):
            total += seconds_per_step * max(0, step - before)
            before, known = step, True
        return total if known else None

    def setting(self, *path: str) -> Any:
        """A value of the configuration, or None."""
        value: Any = self.facts.get("config")
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value


def read_run(run_dir: Path) -> RunRecords:
    """Read what the report needs.

    Raises:
        DataError: there is no run in ``run_dir``, or it has logged nothing yet.
    """
    metrics = run_dir / "metrics.jsonl"
    if not metrics.is_file():
        raise DataError(
            f"report: '{run_dir}' is not a run: it has no metrics.jsonl.\n"
            f"  train one:  spectranet train run_dir={run_dir} …"
        )
    records = _records(metrics)
    if not records:
        raise DataError(
            f"report: the run '{run_dir}' has logged nothing yet: {metrics} has no record.\n"
            f"  once it has a step behind it:  spectranet report {run_dir}"
        )
    notes: list[str] = []
    facts = _object(run_dir / "run.json", notes)
    gallery = _object(run_dir / "gallery.json", notes, needed=False)
    failures = list(islice(_failures(run_dir), _MOST_FAILURES))
    events = [each for each in _records(run_dir / "events.jsonl") if each.keys() >= _EVENT]
    return RunRecords(run_dir.resolve().name, facts, records, gallery, failures, notes, events)


def _records(path: Path) -> list[dict[str, Any]]:
    return [line for line in read_lines(path) if type(line.get("step")) is int]


def _failures(run_dir: Path) -> Iterator[Skipped]:
    """What the ranks wrote down, rank by rank, but for bad samples in the place of others: as they count."""
    for path in sorted(run_dir.glob("failures/rank-*.jsonl")):
        for record in _records(path):
            if {"source", "key", "reason"} <= record.keys() and not record.get("attempt"):
                yield Skipped.of(str(record["source"]), str(record["key"]), str(record["reason"]))


def _object(path: Path, notes: list[str], needed: bool = True) -> dict[str, Any]:
    if not path.is_file():
        if needed:
            notes.append(f"{path.name} is missing, so parameters and settings are not shown.")
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        notes.append(f"{path.name} cannot be read: {error}")
        return {}
    if isinstance(value, dict):
        return value
    notes.append(f"{path.name} holds no JSON object.")
    return {}


def _is_finite(value: Any) -> bool:
    """Also small enough for the arithmetic of an axis, as all that fits fp32 is."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST
