"""What is shown while many shards are indexed? Nothing for two seconds, then a bar, or a line in a log."""

from __future__ import annotations

import logging
import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["IndexProgress"]

_log = logging.getLogger(__name__)
_QUIET_S = 2.0


class IndexProgress:
    """A context: :meth:`advance` counts shards. Only the first rank of a machine shows anything."""

    def __init__(self, folder: str, total: int) -> None:
        self._what = f"indexing {total} shards of '{folder or '.'}'"
        self._total = total
        self._done = 0
        self._show_at: float | None = time.monotonic() + _QUIET_S
        self._bar: Progress | None = None
        if os.environ.get("LOCAL_RANK", "0") != "0":
            self._show_at = None

    def __enter__(self) -> IndexProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self) -> None:
        self._done += 1
        if self._show_at is not None and time.monotonic() >= self._show_at:
            self._show_at = None
            self._show()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done)

    def _show(self) -> None:
        if not sys.stderr.isatty():
            _log.warning("%s; %d are done. This happens once.", self._what, self._done)
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._bar.add_task(self._what, total=self._total)
        self._bar.start()
