"""Signals, and the death of the launcher, end a run in good order."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import torch

from spectranet.train.distributed import World

__all__ = ["INTERRUPTED", "RESUME_ME", "StopFlag"]

RESUME_ME = 75
"""Exit code of a run that a signal ended after a checkpoint (EX_TEMPFAIL of sysexits.h)."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, with a checkpoint or without: who repeats a command on 75 must not on this."""

_CODES = {signal.SIGTERM: RESUME_ME, signal.SIGUSR1: RESUME_ME, signal.SIGINT: INTERRUPTED}

_SAME_INTERRUPT_S = 2.0
"""Under torchrun a Ctrl-C comes twice: from the terminal, and forwarded by torchrun."""

_GRACE_S = 300.0
"""For the step and the checkpoint of a run whose launcher is gone. Nobody waits: its directory is locked."""


class StopFlag:
    """Raised by SIGTERM, SIGUSR1, the first Ctrl-C and the death of torchrun; ranks agree on it after a step.

    A thread listens, since the main one may wait in a collective, for a rank that is gone. It ends the
    process at once where there is nothing to save (before :meth:`begin`, after :meth:`finish`), at a second
    Ctrl-C, and where the step does not end in time after the launcher has died. The launcher is watched
    rather than PR_SET_PDEATHSIG asked for: that tells when the *thread* that started us ends, and could not
    be told from a scheduler's SIGTERM, which sets no deadline.

    Args:
        launcher: process id of torchrun; None where there is none.
        grace_s: how long the ranks may live on without it.
    """

    def __init__(self, launcher: int | None = None, grace_s: float = _GRACE_S) -> None:
        self._launcher = launcher
        self._grace_s = grace_s
        self._orphaned_s: float | None = None
        self._interrupted_s: float | None = None
        self._raised: set[int] = set()
        """The exit codes that are asked for."""
        self._saved: int | None = None
        self._nothing_to_save: str | None = "before the first step"
        self._signals, self._wakeup = socket.socketpair()
        self._wakeup.setblocking(False)
        # Python writes the numbers there in the C handler, whatever the main thread is busy with.
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        for number in _CODES:
            signal.signal(number, lambda number, frame: None)
        os.register_at_fork(after_in_child=_leave_signals_to_parent)
        threading.Thread(target=self._listen, name="stop", daemon=True).start()

    def begin(self, step: int) -> None:
        """Steps follow, the first after ``step``: from now on they are worth a checkpoint."""
        self._saved, self._nothing_to_save = step, None

    def saved(self, step: int) -> None:
        """There is a checkpoint of ``step``."""
        self._saved = step

    def finish(self) -> None:
        """All is saved."""
        self._nothing_to_save = "after the last step"

    def agreed(self, world: World, counts: Sequence[float] = ()) -> tuple[int, list[float]]:
        """The exit code if any rank was asked to stop, else 0, and the sums of ``counts`` over the ranks.

        A collective call, of as many counts on every rank: what else a step has to add up goes with it.
        """
        raised = [float(code in self._raised) for code in (INTERRUPTED, RESUME_ME)]
        numbers = torch.tensor([*raised, *counts], dtype=torch.float64, device=world.device)
        interrupted, resume_me, *sums = world.sum(numbers).tolist()
        return INTERRUPTED if interrupted else RESUME_ME if resume_me else 0, sums

    def _listen(self) -> None:
        while True:
            ready, _, _ = select.select([self._signals], [], [], 1.0 if self._launcher else None)
            for number in self._signals.recv(64) if ready else b"":
                if number in _CODES:
                    self._ask(signal.Signals(number))
            if self._launcher is not None and os.getppid() != self._launcher:
                self._outlive_launcher()

    def _ask(self, number: signal.Signals) -> None:
        code, now_s = _CODES[number], time.monotonic()
        if self._nothing_to_save is not None:
            self._end(code, f"ended by {number.name} {self._nothing_to_save}; the same command goes on")
        if number is signal.SIGINT:
            if self._interrupted_s is None:
                self._interrupted_s = now_s
                _say("stopping after this step; Ctrl-C again ends at once")
            elif self._launcher is None or now_s > self._interrupted_s + _SAME_INTERRUPT_S:
                self._end(code, f"ended at once; the same command goes on from step {self._saved}")
        self._raised.add(code)

    def _outlive_launcher(self) -> None:
        now_s = time.monotonic()
        if self._nothing_to_save is not None:
            self._end(RESUME_ME, f"torchrun is gone: ended {self._nothing_to_save}")
        if self._orphaned_s is None:
            self._orphaned_s = now_s
            self._raised.add(RESUME_ME)
            _say("torchrun is gone: stopping after this step")
        elif now_s > self._orphaned_s + self._grace_s:
            self._end(RESUME_ME, f"torchrun is gone, and this step has not ended in {self._grace_s:g} s")

    def _end(self, code: int, why: str) -> NoReturn:
        """From another thread than the main one, so without its clean-up, which may hang or complain."""
        _say(why)
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(code)


def _say(text: str) -> None:
    """One rank of a node speaks. What it says must not end it: the terminal may be gone."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        with suppress(OSError, ValueError):
            # A progress bar hides the cursor.
            shown = "\x1b[?25h" if sys.stderr.isatty() else ""
            print(f"{shown}{text}", file=sys.stderr, flush=True)


def _leave_signals_to_parent() -> None:
    """In a forked child: our socket would tell the parent of its signals; Ctrl-C goes to the parent alone."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
