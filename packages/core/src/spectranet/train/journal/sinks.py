"""Trackers listen to a run, each from a thread of its own: one that hangs delays no step and no other."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Sink", "Sinks"]

Record = Mapping[str, Any]

_HELD = 1000
"""Records that wait for a sink that does not take them; beyond them the oldest are dropped."""

_RETRY_S = (1.0, 60.0)
"""Pause after the first failure of a sink, doubled after each more, and the longest one."""

_SLOW_S = 30.0
_GOODBYE_S = 10.0


class Sink:
    """Hands records to one tracker, in their order, from its own thread.

    A record that is refused is tried again after a pause, for as long as the run lasts: trackers come
    back. An outage is told once, and its end. ``metrics.jsonl`` has all records, whatever becomes of a sink.

    Args:
        name: the plugin that brings it.
        call: takes a record; may raise anything and may never return.
        say: tells people; called from any thread.
        held: records that may wait.
        retry_s: shortest and longest pause between attempts.
        slow_s: how long a call may take before people are told.
    """

    def __init__(
        self,
        name: str,
        call: Callable[[Record], object],
        say: Callable[[str], None],
        held: int = _HELD,
        retry_s: tuple[float, float] = _RETRY_S,
        slow_s: float = _SLOW_S,
    ) -> None:
        self.name = name
        self._call = call
        self._say = say
        self._held = held
        self._retry_s = retry_s
        self._slow_s = slow_s
        self._waiting: deque[Record] = deque()
        self._dropped = 0
        self._called_s: float | None = None
        """Since when the tracker has had a record in its hands, if it has one."""
        self._is_down = self._is_slow = self._is_closing = self._has_ended = False
        self._changed = threading.Condition()
        threading.Thread(target=self._serve, name=f"sink {name}", daemon=True).start()

    def put(self, record: Record) -> None:
        """Leave a record for the thread; returns at once."""
        with self._changed:
            if len(self._waiting) == self._held:
                self._waiting.popleft()
                self._dropped += 1
            self._waiting.append(record)
            self._changed.notify_all()
            was_slow = self._is_slow
            if self._called_s is not None and time.monotonic() > self._called_s + self._slow_s:
                self._is_slow = True
            is_news = self._is_slow and not was_slow
        if is_news:
            self._say(
                f"warning: metrics sink '{self.name}' has not answered for {self._slow_s:g} s; "
                "the run goes on, and metrics.jsonl has all"
            )

    def close(self, deadline_s: float) -> None:
        """Wait until all records are taken, at most to ``deadline_s`` of time.monotonic; say what is lost."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._has_ended or not self._left(), max(0.0, deadline_s - time.monotonic())
            )
            lost = self._dropped + self._left()
        if lost:
            records = "1 record" if lost == 1 else f"{lost} records"
            self._say(f"warning: metrics sink '{self.name}' missed {records}; metrics.jsonl has all")

    def _left(self) -> int:
        return len(self._waiting) + (self._called_s is not None)

    def _serve(self) -> None:
        pause_s = 0.0
        while True:
            with self._changed:
                # The end of the run cuts a pause short: one last attempt.
                self._changed.wait_for(lambda: self._is_closing, pause_s)
                self._changed.wait_for(lambda: self._waiting)
                record = self._waiting.popleft()
                self._called_s = time.monotonic()
            error = self._attempt(record)
            for line in self._take_answer(record, error):
                self._say(line)
            if self._has_ended:
                return
            shortest_s, longest_s = self._retry_s
            pause_s = 0.0 if error is None else min(longest_s, max(shortest_s, 2 * pause_s))

    def _attempt(self, record: Record) -> BaseException | None:
        try:
            self._call(record)
        except BaseException as error:  # a tracker's sys.exit, too: it must not end the thread in silence
            return error
        return None

    def _take_answer(self, record: Record, error: BaseException | None) -> list[str]:
        """Note how a call went; returns what is news."""
        with self._changed:
            was_away = self._is_down or self._is_slow
            was_down, self._is_down = self._is_down, error is not None
            self._is_slow, self._called_s = False, None
            if error is not None and len(self._waiting) < self._held:
                self._waiting.appendleft(record)
            elif error is not None:
                self._dropped += 1
            self._has_ended = error is not None and self._is_closing
            self._changed.notify_all()
            dropped = self._dropped
        if error is not None and not was_down:
            return [
                f"warning: metrics sink '{self.name}' failed and is tried again later: "
                f"{type(error).__name__}: {error}"
            ]
        if error is None and was_away:
            return [
                f"metrics sink '{self.name}' is back" + (f"; it missed {dropped} records" if dropped else "")
            ]
        return []


class Sinks:
    """Every tracker of a run.

    Args:
        calls: plugin -> what takes a record of ``metrics.jsonl``.
        say: tells people.
    """

    def __init__(self, calls: Mapping[str, Callable[[Record], object]], say: Callable[[str], None]) -> None:
        self._sinks = [Sink(name, call, say) for name, call in calls.items()]

    def put(self, record: Record) -> None:
        for sink in self._sinks:
            sink.put(record)

    def close(self, patience_s: float = _GOODBYE_S) -> None:
        """Let them take what waits, all together within ``patience_s``."""
        deadline_s = time.monotonic() + patience_s
        for sink in self._sinks:
            sink.close(deadline_s)
