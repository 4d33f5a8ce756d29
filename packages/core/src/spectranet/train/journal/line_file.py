"""A file of JSON lines that a full disk cannot end a run with."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["LineFile"]


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
