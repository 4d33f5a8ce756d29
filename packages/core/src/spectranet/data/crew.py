"""Who reads and decodes? A crew of threads, from which one that hangs is left behind.

A read from storage that has gone away may never return, and no thread can be ended from outside. So
each call has a deadline, counted from when a thread takes it up: past that it is given up, another
thread takes the place of the stuck one, and what the stuck one may still bring is thrown away. The
threads are daemons: a process ends whether or not they do. ``ThreadPoolExecutor`` waits for its own.

What it costs: a lock and a look at the clock for each call, and one change of threads for each errand.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from spectranet.data.stores.patience import end_by, give_up, given_up, in_use
from spectranet.errors import DataError

__all__ = ["Crew", "Errand", "Stalled"]

_ROUNDS_OF_STALLS = 4
"""How often all threads may get stuck, and no call end in between, before nothing more is hoped for."""


@dataclass(frozen=True)
class Stalled:
    """What a call gives that did not end in time.

    Attributes:
        waited_s: how long it was given.
        place: the path that it was reading; None where it was not (a decoder that hangs).
    """

    waited_s: float
    place: str | None

    def __str__(self) -> str:
        where = f"'{self.place}' does not answer" if self.place else "its decoding does not end"
        return f"given up after {self.waited_s:g} s: {where} (data.stall_s)"


@dataclass
class _Call:
    number: int
    arguments: tuple[Any, ...]
    errand: Errand
    thread: int = 0
    began_s: float = 0.0
    """By the monotonic clock; 0 until a thread takes it up."""


class Crew:
    """Runs calls on ``threads`` threads, each call for at most ``stall_s`` seconds."""

    def __init__(self, threads: int, stall_s: float) -> None:
        self.threads = threads
        self.stall_s = stall_s
        self.stalls_in_a_row = 0
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._hired = False

    def start(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Errand:
        """Begin to call ``function`` with each of the arguments; returns at once."""
        if not self._hired:
            self._hired = True
            for _ in range(self.threads):
                self.hire()
        errand = Errand(self, function, calls)
        for call in tuple(errand.open.values()):  # threads take them out meanwhile
            self._calls.put(call)
        return errand

    def hire(self) -> None:
        """Start one more thread."""
        threading.Thread(target=self._work, name="decode", daemon=True).start()

    def close(self) -> None:
        """Let the threads go; those that are stuck are not waited for."""
        with suppress(Empty):
            while True:
                self._calls.get_nowait()
        for _ in range(self.threads if self._hired else 0):
            self._calls.put(None)
        self._hired = False

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call.thread, call.began_s = threading.get_ident(), time.monotonic()
            outcome, error = None, None
            end_by(call.began_s + self.stall_s)
            try:
                outcome = call.errand.function(*call.arguments)
            except BaseException as raised:
                error = raised
            if not call.errand.take(call, outcome, error):
                return  # given up meanwhile, and another thread has this one's place
            del call, outcome, error  # else they would live until the next call comes


class Errand:
    """Calls that belong together, under way."""

    def __init__(self, crew: Crew, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> None:
        self.function = function
        self.open = {number: _Call(number, arguments, self) for number, arguments in enumerate(calls)}
        self._crew = crew
        self._outcomes: list[Any] = [None] * len(calls)
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._done = threading.Event()
        if not calls:
            self._done.set()

    def take(self, call: _Call, outcome: Any, error: BaseException | None) -> bool:
        """Called by a thread when a call has ended; False where it had been given up."""
        with self._lock:
            if self.open.pop(call.number, None) is None:
                return False
            self._crew.stalls_in_a_row = 0
            self._outcomes[call.number] = outcome
            self._error = self._error or error
            if not self.open:
                self._done.set()
            return True

    def results(self) -> list[Any]:
        """What each call returned, in order; :class:`Stalled` where one did not end in time.

        Raises:
            DataError: so many calls hang that the storage must be gone.
            BaseException: what a call raised.
        """
        while not self._done.wait(self._patience_s()):
            self._give_up_overdue()
        if self._error is not None:
            raise self._error
        return self._outcomes

    def _patience_s(self) -> float:
        """How long until the next call could be overdue; the others are looked at then."""
        with self._lock:
            began_s = [call.began_s for call in self.open.values() if call.began_s]
        left_s = min(began_s, default=time.monotonic()) + self._crew.stall_s - time.monotonic()
        return min(max(left_s, 0.0), threading.TIMEOUT_MAX)

    def _give_up_overdue(self) -> None:
        overdue_s = time.monotonic() - self._crew.stall_s
        with self._lock:
            stuck = [call for call in self.open.values() if 0 < call.began_s <= overdue_s]
            for call in stuck:
                stalled = Stalled(self._crew.stall_s, in_use().get(call.thread))
                if stalled.place and not given_up(stalled.place):  # several threads may wait for it
                    give_up(stalled.place, str(stalled))  # or each of its samples would wait as long
                self._outcomes[call.number] = stalled
                del self.open[call.number]
                self._crew.hire()
            self._crew.stalls_in_a_row += len(stuck)
            if not self.open:
                self._done.set()
        in_a_row = self._crew.stalls_in_a_row
        if stuck and in_a_row > _ROUNDS_OF_STALLS * self._crew.threads:
            raise DataError(f"{in_a_row} samples in a row did not end; the last was {stalled}")
