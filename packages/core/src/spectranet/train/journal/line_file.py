"""A file of JSON lines that a full disk cannot end a run with."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["LineFile", "drop_records_from", "read_lines"]


class LineFile:
    """Appends; what cannot be written now is kept, and written before the next line.

    Each line reaches the system at once, so that a killed process loses none, and is cut in two by no
    failure that it survives: after a write that took a part, the next begins where that one ended. Threads
    may share it. Half a line that a killed process has left is ended, so that it spoils no other.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._waiting = b"\n" if _ends_in_half_a_line(path) else b""
        self._lock = threading.Lock()

    def write(self, entry: Mapping[str, Any]) -> OSError | None:
        """Append one line; returns what keeps it from the disk, if anything does."""
        line = (json.dumps(entry, allow_nan=False) + "\n").encode()
        with self._lock:
            self._waiting += line
            try:
                while self._waiting:
                    self._waiting = self._waiting[self._file.write(self._waiting) :]
            except OSError as error:
                return error
        return None

    def close(self) -> None:
        self._file.close()


def _ends_in_half_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read(1) not in (b"", b"\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of its readable lines; a killed run leaves half a line at the end. None without a file."""
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            entries.append(entry)
    return entries


def drop_records_from(path: Path, start: int) -> None:
    """Forget what a killed run logged after the checkpoint that we go on from.

    Records are in the order of their steps, so the file is cut where the first of them begins: a full disk
    does not refuse that. Half a line of a killed run goes with them if it is the last.
    """
    if not path.exists():
        return
    read = kept = 0
    with path.open("r+b") as file:
        for line in file:
            read += len(line)
            step = _step_of(line)
            if step is not None and step > start:
                break
            if step is not None:
                kept = read
        file.truncate(kept)


def _step_of(line: bytes) -> int | None:
    """None of half a line."""
    try:
        return int(json.loads(line)["step"]) if line.endswith(b"\n") else None
    except (ValueError, KeyError, TypeError):
        return None
