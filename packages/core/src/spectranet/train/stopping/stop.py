"""Signals, and the death of the launcher, end a run in good order."""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from spectranet.train.distributed import World
from spectranet.train.stopping.ending import (
    INTERRUPTED,
    RESUME_ME,
    SIGNALS,
    Stopped,
    early_signals,
    end_at_once,
    say,
)

__all__ = ["StopFlag"]

_SAME_INTERRUPT_S = 2.0
"""Under torchrun a Ctrl-C comes twice: from the terminal, and forwarded by torchrun."""

_GRACE_S = 300.0
"""For the step and the checkpoint of a run whose launcher is gone. Nobody waits: its directory is locked."""

_AGREE_S = 20.0
"""How long ranks with nothing to save wait to agree: schedulers kill after 30 s."""

_AGREE_UNDER_TORCHRUN_S = 2.0
"""The same where torchrun tells all ranks: often since one of them has ended with a mistake."""

_POLL_S = 2.0
"""Inside a step, ranks ask each other no more often than this."""


class StopFlag:
    """Raised by SIGTERM, SIGUSR1, the first Ctrl-C and the death of torchrun; ranks agree on it.

    They do so after every step, between the micro-batches of long steps, and with each batch of an
    evaluation: the flag travels in a reduction that is made anyway, or every :data:`_POLL_S` seconds.

    A thread listens, since the main one may wait in a collective, for a rank that is gone. Where there is
    nothing to save (before :meth:`begin`, after :meth:`finish`) it ends a process that is alone at once, and
    one of several when they have not agreed in time. It ends the process, too, at a second Ctrl-C, and where
    the step does not end in time after the launcher has died. The launcher is watched rather than
    PR_SET_PDEATHSIG asked for: that tells when the *thread* that started us ends, and could not be told
    from a scheduler's SIGTERM, which sets no deadline.

    Args:
        launcher: process id of torchrun; None where there is none.
        grace_s: how long the ranks may live on without it.
    """

    def __init__(self, launcher: int | None = None, grace_s: float = _GRACE_S) -> None:
        self._launcher = launcher
        self._grace_s = grace_s
        self._agree_s = _AGREE_S if launcher is None else _AGREE_UNDER_TORCHRUN_S
        self._alone = os.environ.get("WORLD_SIZE", "1") == "1"
        self._orphaned_s: float | None = None
        self._watching_launcher = threading.Lock()
        self._interrupted_s: float | None = None
        self._waiting: _Waiting | None = None
        self._raised: set[int] = set()
        """The exit codes that are asked for."""
        self._asked = 0
        """How often the current step has come to :meth:`between`."""
        self._ask_every = 1
        self._step_began_s = time.monotonic()
        self._saved: int | None = None
        self._nothing_to_save: str | None = "before the first step"
        self._signals, self._wakeup = socket.socketpair()
        self._wakeup.setblocking(False)
        # Python writes the numbers there in the C handler, whatever the main thread is busy with.
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda number, frame: None)
        os.register_at_fork(after_in_child=_leave_signals_to_parent)
        for number in early_signals():
            self._ask(number)
        threading.Thread(target=self._listen, name="stop", daemon=True).start()

    def begin(self, step: int) -> None:
        """Steps follow, the first after ``step``: from now on they are worth a checkpoint."""
        self._saved, self._nothing_to_save, self._waiting = step, None, None

    def saved(self, step: int) -> None:
        """There is a checkpoint of ``step``."""
        self._saved = step

    def is_saved(self, step: int) -> bool:
        """Whether there is nothing after ``step`` that a checkpoint would keep."""
        return self._saved == step

    def finish(self) -> None:
        """All is saved."""
        self._nothing_to_save = "after the last step"

    def agreed(self, world: World, counts: Sequence[float] = ()) -> tuple[int, list[float]]:
        """The exit code if any rank was asked to stop, else 0, and the sums of ``counts`` over the ranks.

        A collective call, of as many counts on every rank: what else a step has to add up goes with it.
        """
        took_s = time.monotonic() - self._step_began_s
        numbers = [*self.flags(), took_s, *counts]
        summed = world.sum(torch.tensor(numbers, dtype=torch.float64)).tolist()  # on the CPU, as check()
        *flags, took_s = summed[:3]
        self._pace(took_s / world.size)
        return self._asked_for(flags), summed[3:]

    def check(self, world: World) -> None:
        """A collective call, on the CPU: a GPU may run on meanwhile.

        Raises:
            Stopped: on every rank, if any was asked to stop.
        """
        self.obey(world.sum(torch.tensor(self.flags())).tolist())

    def flags(self) -> list[float]:
        """What this rank brings to a sum over the ranks, which :meth:`obey` takes."""
        return [float(code in self._raised) for code in (INTERRUPTED, RESUME_ME)]

    def obey(self, flags: Sequence[float]) -> None:
        """Take the sum of all ranks' :meth:`flags`.

        Raises:
            Stopped: if any rank was asked to stop.
        """
        if code := self._asked_for(flags):
            raise Stopped(code)

    def _asked_for(self, flags: Sequence[float]) -> int:
        """The exit code by the sum of all ranks' :meth:`flags`; 0 where no rank was asked to stop."""
        interrupted, resume_me = flags
        if not (interrupted or resume_me):
            return 0
        self._look_for_launcher()
        return INTERRUPTED if interrupted else RESUME_ME

    def between(self, world: World) -> None:
        """To be called before each micro-batch of a step: in a long step, a collective call.

        Raises:
            Stopped: on every rank; the step is to be given up.
        """
        if self._asked == 0:
            self._step_began_s = time.monotonic()
        if world.size == 1 or self._asked % self._ask_every == 0:
            self.check(world)
        self._asked += 1

    def _pace(self, seconds: float) -> None:
        """Take how long the last step took, the same on every rank: a short one is not worth giving up."""
        is_long = seconds >= _POLL_S
        self._ask_every = max(1, math.ceil(_POLL_S * self._asked / seconds)) if is_long else sys.maxsize
        self._asked = 0

    def _listen(self) -> None:
        while True:
            watching = self._launcher is not None or self._waiting is not None
            ready, _, _ = select.select([self._signals], [], [], 1.0 if watching else None)
            for number in self._signals.recv(64) if ready else b"":
                if number in SIGNALS:
                    self._ask(signal.Signals(number))
            self._look_for_launcher()
            if self._waiting is not None and time.monotonic() > self._waiting.since_s + self._agree_s:
                end_at_once(self._waiting.code, self._waiting.why)

    def _ask(self, number: signal.Signals) -> None:
        code, now_s = SIGNALS[number], time.monotonic()
        if self._nothing_to_save is not None:
            why = f"ended by {number.name} {self._nothing_to_save}; the same command goes on"
            if self._alone:
                end_at_once(code, why)
            self._waiting = self._waiting or _Waiting(now_s, code, why)
        if number is signal.SIGINT:
            if self._interrupted_s is None:
                self._interrupted_s = now_s
                say("stopping after this step; Ctrl-C again ends at once")
            elif self._launcher is None or now_s > self._interrupted_s + _SAME_INTERRUPT_S:
                end_at_once(code, f"ended at once; the same command goes on from step {self._saved}")
        self._raised.add(code)

    def _look_for_launcher(self) -> None:
        """By the thread, and when ranks stop: another may have missed torchrun first, and only one speaks."""
        if self._launcher is not None and os.getppid() != self._launcher:
            with self._watching_launcher:
                self._outlive_launcher()

    def _outlive_launcher(self) -> None:
        now_s = time.monotonic()
        if self._nothing_to_save is not None:
            end_at_once(RESUME_ME, f"torchrun is gone: ended {self._nothing_to_save}")
        if self._orphaned_s is None:
            self._orphaned_s = now_s
            self._raised.add(RESUME_ME)
            say("torchrun is gone: stopping after this step")
        elif now_s > self._orphaned_s + self._grace_s:
            end_at_once(RESUME_ME, f"torchrun is gone, and this step has not ended in {self._grace_s:g} s")


@dataclass(frozen=True)
class _Waiting:
    """A signal that came where there is nothing to save, and is to be agreed on."""

    since_s: float
    code: int
    why: str


def _leave_signals_to_parent() -> None:
    """In a forked child: our socket would tell the parent of its signals; Ctrl-C goes to the parent alone."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
