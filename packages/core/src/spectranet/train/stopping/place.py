"""Where is a rank in its run, and which rank holds up the others?"""

from __future__ import annotations

import functools
import json
import os
import socket
import sys
import sysconfig
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

__all__ = ["Place", "Progress", "born", "here", "told", "who_holds_up"]

_TORCH = os.path.dirname(torch.__file__) + os.sep
_COLLECTIVES = os.path.join(_TORCH, "distributed") + os.sep
_STANDARD = sysconfig.get_paths()["stdlib"] + os.sep
_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
"""Of training: the loop and what it calls."""
_PACKAGES = os.sep + "site-packages" + os.sep


class Progress:
    """What the loop is at. It writes here, a few attributes a phase; the heartbeat reads.

    Attributes:
        marks: how often anything was reported; the same number at the same place on every rank.
        step: steps done.
        phase: start, data, forward, update, save, evaluation or roll-back.
        since_s: of the monotonic clock, when something was reported last.
    """

    __slots__ = ("is_first", "marks", "phase", "since_s", "step")

    def __init__(self, step: int = 0) -> None:
        self.marks = 0
        self.step = step
        self.phase = "start"
        self.since_s = time.monotonic()
        self.is_first = True
        """Until the first step is done, with what is compiled in it."""

    def enter(self, phase: str) -> None:
        """To be called on every rank alike."""
        self.phase = phase
        self.tick()

    def tick(self) -> None:
        """Something was done: a micro-batch, a batch of an evaluation. To be called on every rank alike."""
        self.since_s = time.monotonic()
        self.marks += 1

    def done(self, step: int) -> None:
        """``step`` steps are done."""
        self.is_first = self.is_first and step == self.step
        self.step = step


@dataclass(frozen=True)
class Place:
    """What a rank tells of itself with a beat of its heart.

    Args:
        machine: where its process id means something: a boot of a machine, and a name space of processes.
        born: when its process began, by its kernel: an id may be given again.
        beat: counts up with every beat.
        code: where its main thread is, as ``file.py:12 in function``; empty while it goes on.
        waits: whether that is in a collective.
        ended: the exit code with which it leaves, if it does.
    """

    rank: int
    host: str
    pid: int
    machine: str
    born: str
    beat: int = 0
    marks: int = 0
    step: int = 0
    phase: str = "start"
    code: str = ""
    waits: bool = False
    ended: int | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Place:
        return cls(**json.loads(text))

    @property
    def name(self) -> str:
        return f"rank {self.rank} ({self.host}, pid {self.pid})"

    def fate(self) -> str:
        """What the kernel knows of it: gone, stopped or alive; an empty string on another machine."""
        if not self.machine or self.machine != _machine():
            return ""
        state, *_ = _status(self.pid) or "X"
        if state in "ZX" or born(self.pid) != self.born:
            return "gone"
        return "stopped" if state in "Tt" else "alive"


def here(rank: int, beat: int, progress: Progress, look: bool, ended: int | None = None) -> Place:
    """Our own place.

    Args:
        look: also where the main thread is in the code, which costs some microseconds.
    """
    code, waits = _main_thread() if look else ("", False)
    pid = os.getpid()
    return Place(
        rank=rank,
        host=socket.gethostname(),
        pid=pid,
        machine=_machine(),
        born=born(pid),
        beat=beat,
        marks=progress.marks,
        step=progress.step,
        phase=progress.phase,
        code=code,
        waits=waits,
        ended=ended,
    )


def born(pid: int) -> str:
    """When the process began, in the kernel's ticks; empty where there is no such process, or no /proc."""
    status = _status(pid)
    return status[19] if len(status) > 19 else ""


@functools.cache
def _machine() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    return ""


def _status(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` after the name, the state first."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def _main_thread() -> tuple[str, bool]:
    """The line of a plugin or of ours at which the main thread is, and whether it waits there for others."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    waits = False
    while frame is not None:
        file = frame.f_code.co_filename
        waits = waits or file.startswith(_COLLECTIVES)
        if not file.startswith((_TORCH, "<")) and (not file.startswith(_STANDARD) or _PACKAGES in file):
            # Where our own loop stands, it waits for a device: the others' part of a collective is missing.
            waits = waits or file.startswith(_OURS)
            short = "/".join(Path(file).parts[-2:])
            return f"{short}:{frame.f_lineno} in {frame.f_code.co_name}", waits
        frame = frame.f_back
    return "", waits


def who_holds_up(places: Sequence[Place], silent: Iterable[int]) -> list[Place]:
    """The ranks that the others wait for; all of them where none is behind.

    Args:
        silent: ranks whose heart does not beat.
    """
    silent = set(silent)
    if lost := [p for p in places if p.rank in silent or p.ended is not None]:
        return lost
    behind = [p for p in places if p.marks == min(each.marks for each in places)]
    return [p for p in behind if not p.waits] or behind


def told(culprits: Sequence[Place], silent: Iterable[int], ranks: int, seconds: float) -> str:
    """Who holds up the run, a line each, the first few; what the others do; what to look at."""
    silent = set(silent)
    lines = []
    for place in culprits[:4]:
        fate = place.fate()
        where = f"step {place.step + 1}, phase {place.phase}"
        if place.ended is not None:
            lines.append(f"{place.name} ended with exit code {place.ended} in {where}")
        elif fate == "gone":
            lines.append(f"{place.name} is gone; last heard of in {where}")
        elif place.rank in silent:
            why = ": its process is stopped" if fate == "stopped" else ""
            lines.append(
                f"{place.name} gives no sign of life for {seconds:.0f} s{why}; last heard of in {where}"
            )
        else:
            at = f", at {place.code}" if place.code else ""
            lines.append(f"{place.name} has been in {where}, for {seconds:.0f} s{at}")
    if len(culprits) > 4:
        lines.append(f"… and {len(culprits) - 4} more ranks")
    waiting = ranks - len(culprits)
    if waiting:
        lines[-1] += f"; {waiting} other rank{'s wait' if waiting > 1 else ' waits'} for {_them(culprits)}"
    elif ranks > 1:
        lines[-1] += "; no rank is behind the others"
    return "\n".join(lines)


def _them(culprits: Sequence[Place]) -> str:
    return "it" if len(culprits) == 1 else "them"
