"""Who has a file to himself, among all processes that share a folder?

The holder locks a file beside it (``flock``), which the system unlocks when the holder dies, and removes
that file when he is done. A lock on a file that was removed meanwhile is worth nothing, since the next
one locks a new file of the same name; so who gets it looks whether it is still the one in the folder.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["Busy", "locked"]

_LOOK_AGAIN_S = 0.05


class Busy(Exception):  # noqa: N818 - says a state, and is always caught
    """Another process or thread holds the lock."""


@contextmanager
def locked(path: str, wait_s: float) -> Iterator[None]:
    """Hold the lock file ``path``, which is made and removed.

    Raises:
        Busy: another still holds it after ``wait_s``.
        OSError: the folder cannot be written, or its file system has no locks.
    """
    lock = _acquire(path, time.monotonic() + wait_s)
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(path)
        _release(lock)


def _acquire(path: str, until_s: float) -> int:
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, lock):
                return lock
        except BlockingIOError:
            if time.monotonic() >= until_s:
                os.close(lock)
                raise Busy from None
        except BaseException:
            os.close(lock)
            raise
        else:
            _release(lock)
            continue
        os.close(lock)
        time.sleep(_LOOK_AGAIN_S)


def _is_at(path: str, file: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False


def _release(lock: int) -> None:
    """Unlock and close. Closing alone keeps the lock where a process was forked meanwhile."""
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)
