"""How does a process that trains end, and what does its exit code say?

No torch here: a signal may come during the imports.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

__all__ = [
    "DIVERGED",
    "FAULT",
    "INTERRUPTED",
    "LOST_RANK",
    "MISTAKE",
    "NOT_SAVED",
    "RESUME_ME",
    "SIGNALS",
    "Stopped",
    "early_signals",
    "end_at_once",
    "listen_before_imports",
    "say",
]

FAULT = 1
"""A fault of ours or of a plugin, told with its traceback; the same command would meet it again."""

MISTAKE = 2
"""Something a person has to mend first, in the configuration, the data or a checkpoint."""

DIVERGED = 3
"""Too many steps in a row were not finite."""

NOT_SAVED = 74
"""The last state could not be written (EX_IOERR of sysexits.h)."""

RESUME_ME = 75
"""A signal ended the run after a checkpoint (EX_TEMPFAIL); the same command goes on."""

LOST_RANK = 76
"""Another rank hung or was lost (EX_PROTOCOL); the same command goes on from the newest checkpoint."""

INTERRUPTED = 130
"""Ctrl-C, with a checkpoint or without: who repeats a command on 75 must not on this."""

SIGNALS = {signal.SIGTERM: RESUME_ME, signal.SIGUSR1: RESUME_ME, signal.SIGINT: INTERRUPTED}
"""What ends a run in good order, and the exit code that it asks for."""

_EARLY: list[signal.Signals] = []
"""Signals that came before anything could be agreed with the other ranks."""


class Stopped(BaseException):
    """The ranks have agreed to stop. Not an ``Exception``: a task that catches those must let this pass.

    Attributes:
        code: the exit code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def listen_before_imports() -> None:
    """From now on a signal is no sudden death; a ``StopFlag`` takes over from here.

    Alone, or under torchrun, which ends the others, the process ends at once: there is nothing to save.
    One rank of several goes on to the point where it can tell the others, who wait for it there.
    """
    alone = os.environ.get("WORLD_SIZE", "1") == "1" or "TORCHELASTIC_RUN_ID" in os.environ
    heard: Callable[[int, FrameType | None], None] = _end_before_first_step if alone else _remember
    for number in SIGNALS:
        signal.signal(number, heard)


def early_signals() -> list[signal.Signals]:
    """What :func:`listen_before_imports` has heard; forgotten by the call."""
    heard = _EARLY.copy()
    _EARLY.clear()
    return heard


def end_at_once(code: int, why: str = "") -> NoReturn:
    """Without the main thread's clean-up, which may hang or complain; children are killed."""
    if why:
        say(why)
    if "multiprocessing" in sys.modules:
        from multiprocessing import active_children

        for child in active_children():
            child.kill()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)


def say(text: str, anyway: bool = False) -> None:
    """One rank of a node speaks. What it says must not end it: the terminal may be gone.

    Args:
        anyway: whichever rank this is.
    """
    if anyway or os.environ.get("LOCAL_RANK", "0") == "0":
        with suppress(OSError, ValueError):
            # A progress bar hides the cursor.
            shown = "\x1b[?25h" if sys.stderr.isatty() else ""
            print(f"{shown}{text}", file=sys.stderr, flush=True)


def _end_before_first_step(number: int, frame: FrameType | None) -> None:
    name = signal.Signals(number).name
    end_at_once(
        SIGNALS[signal.Signals(number)], f"ended by {name} before the first step; the same command goes on"
    )


def _remember(number: int, frame: FrameType | None) -> None:
    _EARLY.append(signal.Signals(number))
