"""Is another run in this directory? A lock on ``run.lock``, which goes with the process that holds it.

Two runs in one directory would write the same checkpoints and metrics: a job that was started twice, or
ranks that lived on when their launcher was killed. What the file says is for people; the lock is what counts,
so that nothing has to be cleaned up after a crash.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import time
from pathlib import Path
from typing import TextIO

from spectranet.errors import ConfigError

__all__ = ["lock_run"]

_log = logging.getLogger(__name__)

_HELD: dict[Path, TextIO] = {}
"""Of this process. A second run of one process in the same directory comes after the first."""


def lock_run(run_dir: Path) -> None:
    """Hold the directory until this process ends. To be called on rank 0 alone.

    Where the file system has no locks a warning says so, and the run goes on.

    Raises:
        ConfigError: another process holds it; names host, process and since when.
    """
    path = (run_dir / "run.lock").resolve()
    if path in _HELD:
        return
    file = path.open("a+")  # not "w": that would erase what the holder says of itself
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            raise ConfigError(_in_use(run_dir, file)) from None
        _log.warning(
            "run_dir '%s' cannot be locked (%s): make sure that no other run uses it",
            run_dir,
            error.strerror or error,
        )
    if not _HELD:
        os.register_at_fork(after_in_child=_let_go_in_child)
    _HELD[path] = file
    file.truncate(0)
    json.dump({"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}, file)
    file.flush()


def _in_use(run_dir: Path, file: TextIO) -> str:
    """Who holds the lock, and what to do; the holder may not have said yet who it is."""
    lines = [f"run_dir '{run_dir}' is in use by another run"]
    try:
        file.seek(0)
        holder = json.load(file)
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
        lines[0] += f": process {holder['pid']} on {holder['host']}, since {since}"
        where = "" if holder["host"] == socket.gethostname() else f", on {holder['host']}"
        lines.append(f"end it, which writes a checkpoint first:  kill {holder['pid']}{where}")
    except (ValueError, KeyError, TypeError):
        pass
    lines.append("or wait for its end and repeat the command\n  or start another run:  run_dir=…")
    return "\n  ".join(lines)


def _let_go_in_child() -> None:
    """A forked process would share the lock, and keep it when we are gone. Closing does not unlock ours."""
    for file in _HELD.values():
        file.close()
    _HELD.clear()
