"""Which copies of remote shards are on this disk, and how do processes share them?

One folder, any number of processes, no process in charge. A copy is complete if it is there under its
name: it is written as ``NAME.part`` and then renamed. That part is three things at once: what is being
written; a reservation, since it has its full length from the start; and a lock, which the system takes
away from a process that dies. So a part that nobody holds is a leftover, and the next to look removes it.

The sum of all lengths stays below the limit: whoever needs room removes what was used longest ago. What
was used in the last minute stays; if there is no room without it, there is none.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["Copies", "NoRoom"]

_PART = ".part"
_LOCK = ".lock"


class NoRoom(Exception):  # noqa: N818 - an answer, which the one caller expects
    """Nothing that could be removed makes enough room."""


@dataclass(frozen=True)
class Copies:
    """Files in ``folder``, which is made when it is first needed.

    Attributes:
        limit_bytes: most that they may take together.
        recent_s: how long after its last use a copy is kept in any case.
    """

    folder: str
    limit_bytes: int
    recent_s: float = 60.0

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def use(self, name: str) -> str | None:
        """The path of a copy, which now counts as used; None if there is none."""
        try:
            os.utime(self.path(name))
        except FileNotFoundError:
            return None
        except PermissionError:  # another user's: it can be read and not marked
            return self.path(name) if os.path.exists(self.path(name)) else None
        return self.path(name)

    @contextmanager
    def writing(self, name: str, size: int) -> Iterator[BinaryIO | None]:
        """A file to write the copy's ``size`` bytes to; complete when the block ends, gone when it raises.

        None where there is nothing to do: the copy is there, or another process or thread is at it.

        Raises:
            NoRoom: see the class.
            OSError: the folder cannot be written to, or the disk is full.
        """
        part = self._begin(name, size)
        if part is None:
            yield None
            return
        try:
            yield part
            part.flush()
            os.fsync(part.fileno())
            with self._alone():
                os.replace(part.name, self.path(name))
        except BaseException:
            with suppress(OSError):
                os.unlink(part.name)
            raise
        finally:
            with suppress(OSError):  # what could not be written when the disk is full
                _release(part)

    def _begin(self, name: str, size: int) -> BinaryIO | None:
        os.makedirs(self.folder, exist_ok=True)
        with self._alone():
            if os.path.exists(self.path(name)):
                return None
            part = _hold(self.path(name + _PART))
            if part is None:
                return None
            try:
                self._make_room(size, part.name)
                os.truncate(part.fileno(), size)
            except BaseException:
                os.unlink(part.name)
                _release(part)
                raise
            return part

    def _make_room(self, needed: int, mine: str) -> None:
        """Remove leftovers, and copies until ``needed`` bytes fit; nothing if they cannot be made to fit."""
        taken, removable = 0, []
        for entry in os.scandir(self.folder):
            if entry.path == mine or entry.name == _LOCK:
                continue
            if entry.name.endswith(_PART) and _remove_leftover(entry.path):
                continue
            try:
                found = entry.stat()
            except FileNotFoundError:  # who is done with a part, or finds a copy short, asks nobody
                continue
            taken += found.st_size
            if not entry.name.endswith(_PART) and found.st_mtime < time.time() - self.recent_s:
                removable.append((found.st_mtime, found.st_size, entry.path))
        if taken - sum(size for _, size, _ in removable) + needed > self.limit_bytes:
            raise NoRoom
        for _, size, path in sorted(removable):
            if taken + needed <= self.limit_bytes:
                break
            with suppress(FileNotFoundError):
                os.unlink(path)
            taken -= size

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Held for a look at the folder and a few removals: milliseconds."""
        with open(os.path.join(self.folder, _LOCK), "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)


def _hold(path: str) -> BinaryIO | None:
    """The file, made if need be and locked; None if another has the lock."""
    file = open(path, "r+b", opener=_opened_or_made)  # noqa: SIM115 - closed by _release
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except BaseException:
        file.close()
        raise
    return file


def _opened_or_made(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)


def _release(file: BinaryIO) -> None:
    """Unlock and close. Closing alone keeps the lock where a process was forked meanwhile."""
    try:
        fcntl.flock(file, fcntl.LOCK_UN)
    finally:
        file.close()


def _remove_leftover(path: str) -> bool:
    """Whether a part was nobody's and is gone."""
    part = _hold(path)
    if part is None:
        return False
    with suppress(FileNotFoundError):
        os.unlink(path)
    _release(part)
    return True
