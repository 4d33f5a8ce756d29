"""What a run tells: ``metrics.jsonl`` (figures), ``events.jsonl`` (what happened), sinks, a progress line."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column

from spectranet.train.distributed import World
from spectranet.train.journal.line_file import LineFile, drop_records_from
from spectranet.train.journal.sinks import Sinks

__all__ = ["Journal"]

_WORTH_TELLING = 0.1
"""Share of a run's time that goes into waiting for its data."""


class Journal:
    """Writes records on rank 0 and shows progress; other ranks are silent.

    Args:
        trackers: plugin -> what is called with (record, run_dir) for each record, from a thread.
    """

    def __init__(
        self,
        run_dir: Path,
        steps: int,
        start: int,
        world: World,
        trackers: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        self.run_dir = run_dir
        self.active = world.is_main
        self._step = start
        self.console = Console(stderr=True)
        self.progress: Progress | None = None
        if not self.active:
            return
        run_dir.mkdir(parents=True, exist_ok=True)
        drop_records_from(run_dir / "metrics.jsonl", start)
        self._metrics = LineFile(run_dir / "metrics.jsonl")
        self._events = LineFile(run_dir / "events.jsonl")
        self._complained = False
        told = {name: partial(_tell, call, str(run_dir)) for name, call in (trackers or {}).items()}
        self._sinks = Sinks(told, self.say)
        if self.console.is_terminal:
            columns = (
                TextColumn("[bold]train"),
                BarColumn(None),  # where it is narrow, this gives way
                MofNCompleteColumn(table_column=Column(no_wrap=True)),
                TextColumn("{task.fields[line]}", table_column=Column(no_wrap=True)),
            )
            self.progress = Progress(*columns, console=self.console, expand=True)
            self.task = self.progress.add_task("train", total=steps, completed=start, line="")
            self.progress.start()

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """Append ``{"step": …, "time": …, **values}`` to ``metrics.jsonl`` and hand it to the sinks."""
        if not self.active:
            return
        # JSON has no NaN: what is not finite is null.
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        entry = {"step": step, "time": time.time(), **finite}
        self._append(self._metrics, entry)
        self._sinks.put(entry)

    def event(self, kind: str, step: int, text: str, tell: bool = True) -> None:
        """Keep what happened in ``events.jsonl``, where the report finds it, and tell it in the terminal.

        Unlike figures, events are never forgotten: a resumed run goes on after those of the steps it repeats.

        Args:
            kind: one word; the report has a sign for ``start``, ``resume``, ``checkpoint``, ``skipped``,
                ``rollback``, ``warning``, ``stop`` and ``end``, and a plain one for others.
            step: steps that are done, as in ``metrics.jsonl``.
            text: a sentence for people.
            tell: False where the terminal has been told, or need not be.
        """
        if not self.active:
            return
        self._append(self._events, {"step": step, "time": time.time(), "kind": kind, "text": text})
        if tell:
            self._print(text)

    def begin(self, ranks: int, told: Sequence[str]) -> None:
        """Tell what there is to know before the first step, and keep where and on what the run begins."""
        for line in told:
            self.say(line)
        where = f"goes on after step {self._step}" if self._step else "starts"
        text = f"{where} on {ranks} rank{'s' if ranks > 1 else ''}"
        others = [line for line in told if not line.startswith(("warning:", "going on"))]
        kind = "resume" if self._step else "start"
        self.event(kind, self._step, "\n".join([text, *others]), tell=False)

    def _append(self, file: LineFile, entry: Mapping[str, Any]) -> None:
        error = file.write(entry)
        if error is not None and not self._complained:
            self._print(
                f"warning: {self.run_dir} cannot be written, what the run tells waits: {error.strerror}"
            )
        self._complained = error is not None

    def advance(self, step: int, steps: int, values: Mapping[str, float]) -> None:
        """Show where the run is; ``step`` steps are done."""
        if not self.active:
            return
        self._step = step
        line = f"{_summary(values)}  {_clock(values['seconds_per_step'] * (steps - step))} left"
        if self.progress is not None:
            self.progress.update(self.task, completed=step, line=line)
        else:
            self.say(f"step {step}/{steps}  {line}")

    def say(self, text: str) -> None:
        """Tell it in the terminal. What begins with ``warning:`` is kept as an event, too."""
        if self.active and text.startswith("warning:"):
            self.event("warning", self._step, text)
        else:
            self._print(text)

    def _print(self, text: str) -> None:
        if self.progress is not None:
            self.progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
        elif self.active:
            print(text, file=sys.stderr, flush=True)  # a tenth of the time that rich takes over a plain line

    def close(self) -> None:
        if self.active:
            self._sinks.close()
            if self.progress is not None:
                self.progress.stop()
            self._metrics.close()
            self._events.close()


def _tell(call: Callable[..., Any], run_dir: str, record: Mapping[str, Any]) -> None:
    call(record=record, run_dir=run_dir)


def _summary(values: Mapping[str, float]) -> str:
    """Where a step stands, for a line of 80 columns that has the step and the time left besides."""
    speed = values["samples_per_s"]
    speed_shown = f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"
    parts = [f"loss {values['loss']:.3f}", f"{speed_shown} samples/s"]
    if "mfu" in values:
        parts.append(f"MFU {100 * values['mfu']:.0f} %")
    if values.get("data_wait_share", 0.0) >= _WORTH_TELLING:
        parts.append(f"{100 * values['data_wait_share']:.0f} % waits for data")
    return "  ".join(parts)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return (
        f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}" if minutes >= 60 else f"{minutes}:{seconds:02d}"
    )
