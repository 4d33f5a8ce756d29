"""Is a rank lost? Every rank tells the others where it is; one that holds them up is named, and the run ends.

A collective waits for a rank that hangs until the process group gives up, after half an hour by default,
and then says nothing of who it was. So a thread of each rank keeps a record of its place in the run in the
key-value store by which the ranks have met. A rank that makes no progress looks at the records of the
others; when ``train.timeout_s`` has passed it names the rank that is behind, or silent, or gone. All ranks
that can end then do, together, with exit code 76.

The loop pays some attribute writes a step (:class:`spectranet.train.stopping.place.Progress`), the store a
small record of each rank every few seconds. Records of others are read only by a rank that does not go on.
"""

from __future__ import annotations

import datetime
import json
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch
import torch.distributed as dist

from spectranet.errors import SpectraNetError
from spectranet.train.distributed import World
from spectranet.train.stopping.ending import FAULT, LOST_RANK, Stopped, end_at_once, say
from spectranet.train.stopping.place import Place, Progress, here, told, who_holds_up

__all__ = ["Heartbeat", "LostRank"]

_SLOW_PHASES = ("start", "save", "evaluation", "roll-back")
_PATIENCE = 3.0
"""Phases that may be long without a sign, and the first step, which may compile, get this many timeouts."""

_ANSWERS_S = 5.0
"""A store that takes longer does not answer."""

_GOES_ON = "the same command goes on from the newest checkpoint"


class LostRank(SpectraNetError):  # noqa: N818 - it says what has happened
    """This rank cannot go on, since another is gone."""

    exit_code = LOST_RANK
    same_on_all_ranks = True


class Heartbeat:
    """Tells the other ranks where this one is, and ends all of them when one is lost.

    Constructing it is a collective call.

    Args:
        timeout_s: without progress for so long, a run is ended; three times that where steps compile, and
            while it starts, saves or evaluates.
    """

    def __init__(self, world: World, progress: Progress, timeout_s: float) -> None:
        self._rank, self._size = world.rank, world.size
        self._progress = progress
        self._timeout_s = timeout_s
        self._interval_s = min(5.0, max(0.1, timeout_s / 12))
        self._beat = 0
        self._paused_s = 0.0
        """When this process was last found to have been stopped itself: that is no delay of the others."""
        self._places: list[Place] = []
        self._heard_s = [0.0] * world.size
        """When each rank's beat was last seen to have changed."""
        self._answered_s = time.monotonic()
        """When the store last answered."""
        self._verdict: dict[str, object] | None = None
        self._ended: int | None = None
        """The exit code, when this rank leaves."""
        self._publishing = threading.Lock()
        self._closed = threading.Event()
        self._concluding = threading.Event()
        self._store = _own_client() if world.size > 1 else None
        if self._store is not None:
            self._publish()
            world.sum(torch.zeros(1))  # until all ranks have told where they are
            self._read()
            threading.Thread(target=self._exchange, name="heartbeat", daemon=True).start()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """What goes wrong in here ends this rank, and the others are told with which exit code.

        Raises:
            LostRank: in place of what a collective call raises where another rank is gone.
        """
        try:
            yield
        except Stopped as stopped:
            self.close(stopped.code)
            raise
        except BaseException as error:
            lost = self._explain(error)
            self.close(getattr(lost or error, "exit_code", FAULT))
            if lost is not None:
                raise lost from error
            raise

    def close(self, code: int) -> None:
        """The run ends here in good order, or by an error of this rank; others are told."""
        self._closed.set()
        if self._store is not None and code != LOST_RANK:
            self._ended = code
            with suppress(Exception):
                self._publish()

    def _explain(self, error: BaseException) -> LostRank | None:
        """That another rank is gone, if that is why ``error`` ends the main thread."""
        if self._concluding.is_set():
            time.sleep(60.0)  # the thread that has told why ends this process
        if self._store is None or isinstance(error, SpectraNetError) or not _in_collective(error):
            return None
        until_s = time.monotonic() + 3.0
        while time.monotonic() < until_s and not self._concluding.is_set():
            if lost := [p for p in self._places if p.rank != self._rank and (p.ended or p.fate() == "gone")]:
                return self._lost(lost)
            with suppress(Exception):  # the store may be gone as well
                self._read()
            time.sleep(0.1)
        if self._concluding.is_set():
            time.sleep(60.0)
        return None

    def _lost(self, lost: list[Place]) -> LostRank:
        found = LostRank(f"{told(lost, (), self._size, 0.0)}\n  {_GOES_ON}")
        host = socket.gethostname()
        first = min(p.rank for p in self._places if p not in lost and p.host == host)
        found.same_on_all_ranks = self._rank != first  # whoever would speak for this node may be lost
        return found

    def _exchange(self) -> None:
        """In a thread of its own: a store that does not answer may hold it for ever."""
        while not self._closed.wait(self._interval_s):
            with suppress(Exception):  # it is found out by the time since the last answer
                self._publish()
                if self._stalled_s() > self._timeout_s / 4:
                    self._read()
                if self._store.check(["verdict"]):
                    self._verdict = json.loads(self._store.get("verdict"))
                self._answered_s = time.monotonic()

    def _watch(self) -> None:
        looked_s = time.monotonic()
        while not self._closed.wait(self._interval_s):
            now_s = time.monotonic()
            if now_s - looked_s > 4 * self._interval_s + 1.0:
                self._paused_s = self._answered_s = now_s
            looked_s = now_s
            if self._verdict is None and self._is_lost():
                self._verdict = self._judge()
            if self._verdict is not None and not self._closed.is_set():
                self._conclude(self._verdict)

    def _stalled_s(self) -> float:
        return time.monotonic() - max(self._progress.since_s, self._paused_s)

    def _is_lost(self) -> bool:
        stalled_s = self._stalled_s()
        if stalled_s < self._timeout_s:
            return False
        return stalled_s >= self._timeout_s * (_PATIENCE if self._is_patient() else 1.0) or bool(
            self._silent()
        )

    def _is_patient(self) -> bool:
        return self._progress.is_first or self._progress.phase in _SLOW_PHASES

    def _silent(self) -> set[int]:
        """Ranks without a sign of life; where the store is silent too, those that this machine knows of.

        Long imports and compilation hold a heart up as well: they are given a whole timeout.
        """
        now_s, limit_s = time.monotonic(), self._timeout_s * (1.0 if self._is_patient() else 0.5)
        if self._store is None:
            return set()
        if now_s - self._answered_s > self._timeout_s / 2:
            return {p.rank for p in self._places if p.rank != self._rank and p.fate() in ("gone", "stopped")}
        unheard = {rank for rank, heard_s in enumerate(self._heard_s) if now_s - heard_s > limit_s}
        return unheard - {self._rank}

    def _judge(self) -> dict[str, object]:
        """What all ranks are to say and do; the first that judges judges for all."""
        me = here(self._rank, self._beat, self._progress, look=True)
        places = [me if p.rank == self._rank else p for p in self._places] or [me]
        silent = self._silent()
        text = told(who_holds_up(places, silent), silent, self._size, self._stalled_s())
        if self._store is not None and time.monotonic() - self._answered_s > self._timeout_s / 2:
            text += f"\nthe ranks' store at {_store_address()} does not answer"
        alive = [p for p in places if p.rank not in silent and p.ended is None]
        speakers = {p.host: p.rank for p in sorted(alive, key=lambda p: -p.rank)}
        verdict: dict[str, object] = {
            "text": text,
            "speakers": sorted(speakers.values()),
            "answering": len(alive),
            "lost": [places[rank].to_json() for rank in sorted(silent)],
        }
        if self._store is not None:
            judged = _within(2 * self._interval_s + 1.0, lambda: self._agree(verdict))
            return judged or verdict
        return verdict

    def _agree(self, verdict: dict[str, object]) -> dict[str, object]:
        assert self._store is not None
        return json.loads(self._store.compare_set("verdict", "", json.dumps(verdict)))

    def _conclude(self, verdict: dict[str, object]) -> None:
        """Say it on every node, and end with the others: who ended first would leave them a broken pipe."""
        self._concluding.set()
        if self._store is not None:
            _within(2 * self._interval_s + 1.0, lambda: self._wait_for(int(str(verdict["answering"]))))
            if self._rank == 0:
                time.sleep(0.3)  # it may hold the store, where the others still look
        speakers, lost = verdict["speakers"], verdict["lost"]
        assert isinstance(speakers, list) and isinstance(lost, list)
        if self._rank in speakers:
            slow = f"slow rather than hung?  train.timeout_s={2 * self._timeout_s:g}"
            say(f"error: {verdict['text']}\n  {slow}\n  {_GOES_ON}", anyway=True)
            for place in map(Place.from_json, lost):
                if place.fate() in ("stopped", "alive"):
                    with suppress(OSError):
                        os.kill(place.pid, signal.SIGKILL)  # it heeds nothing else
        end_at_once(LOST_RANK)

    def _wait_for(self, ranks: int) -> bool:
        """Until so many ranks know."""
        assert self._store is not None
        self._store.add("knowing", 1)
        while self._store.add("knowing", 0) < ranks:
            time.sleep(0.05)
        return True

    def _publish(self) -> None:
        assert self._store is not None
        # One at a time: a beat that is on its way must not arrive after the news that this rank has ended.
        if not self._publishing.acquire(timeout=_ANSWERS_S):
            return
        try:
            self._beat += 1
            look = self._stalled_s() > self._timeout_s / 4
            place = here(self._rank, self._beat, self._progress, look, self._ended)
            self._store.set(str(self._rank), place.to_json())
        finally:
            self._publishing.release()

    def _read(self) -> None:
        """The places of all ranks."""
        assert self._store is not None
        found = [Place.from_json(text) for text in self._store.multi_get([str(r) for r in range(self._size)])]
        for place in found:
            if not self._places or self._places[place.rank].beat != place.beat:
                self._heard_s[place.rank] = time.monotonic()
        self._places = found


def _own_client() -> dist.Store:
    """The store by which the ranks have met, on a connection that the main thread does not hold."""
    store = dist.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=False,
        timeout=datetime.timedelta(seconds=30.0),
    )
    # A launcher's store outlives the ranks that it starts again.
    return dist.PrefixStore(f"spectranet/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)


def _store_address() -> str:
    holder = "torchrun's" if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" else "rank 0's"
    return f"{os.environ['MASTER_ADDR']} ({holder})"


def _within(seconds: float, call: Callable[[], object]) -> object | None:
    """What ``call`` returns, None where it has not by then: a store that is gone answers nothing."""
    result: list[object] = []

    def run() -> None:
        with suppress(Exception):
            result.append(call())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return result[0] if result else None


def _in_collective(error: BaseException) -> bool:
    """Whether it came out of torch.distributed, as it does where another rank has closed its end."""
    folder = os.path.dirname(dist.__file__) + os.sep
    return any(frame.filename.startswith(folder) for frame in traceback.extract_tb(error.__traceback__))
