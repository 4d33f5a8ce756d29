"""When does a kill fall? While the ranks start, in a step, inside a save, or as it gets its final name."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from life import Life, waits

__all__ = ["Pace", "measure_pace", "staging", "wait_for"]

_ONE_SAVE_S = 0.1
"""Saves are farther apart, and looks at one nearer together."""
_NAMING_S = 0.004
"""How long the manifest, the renaming and the deletion of old checkpoints take, about."""


@dataclass
class Pace:
    """How long things take here."""

    start_s: float
    step_s: float
    save_s: float


def measure_pace(life: Life, run_dir: Path, saves: int) -> Pace:
    """Watch a life to its end, in which nothing is killed.

    Args:
        saves: how many it makes.
    """
    begun: list[float] = []
    saving: list[float] = []
    for waited_s in waits("the untouched run"):
        if life.steps_begun() > len(begun):
            begun.append(waited_s)
        if staging(run_dir, life.born_ns):
            saving.append(waited_s)
        if life.is_over():
            break
    assert begun, f"no step was begun:\n{life.told()}"
    pieces = [b - a for a, b in pairwise(saving) if b - a < _ONE_SAVE_S]
    return Pace(begun[0], (begun[-1] - begun[0]) / len(begun), sum(pieces) / saves)


def wait_for(aim: str, life: Life, run_dir: Path, pace: Pace, choice: random.Random, most_steps: int) -> None:
    """Until a random moment of what is aimed at, or until the life is over.

    Args:
        aim: ``start``, ``step``, ``save``, or ``name``: from the manifest to the deletion of old checkpoints.
        most_steps: a life that is aimed at a step dies in one of its first so many; at a save, in one of
            its first two.
    """
    step, save = choice.randint(1, most_steps), choice.randint(1, 2)
    met: set[int] = set()
    for _ in waits(f"the moment of a kill at a {aim}"):
        now = staging(run_dir, life.born_ns)
        met.update(now)
        reached = {
            "start": True,
            "step": life.steps_begun() >= step,
            "save": len(met) >= save,
            "name": len(met) >= save and (not now or _is_described(run_dir, max(met))),
        }
        if reached[aim] or life.is_over():
            break
    lasts_s = {"start": pace.start_s, "step": pace.step_s, "save": pace.save_s, "name": _NAMING_S}[aim]
    moment_s = choice.random() * lasts_s
    for waited_s in waits("a moment"):
        if waited_s >= moment_s or life.is_over():
            return


def staging(run_dir: Path, since_ns: int) -> Sequence[int]:
    """The steps of unfinished checkpoints that were begun since."""
    found = []
    with suppress(FileNotFoundError):
        for entry in os.scandir(run_dir / "checkpoints"):
            if entry.name.endswith(".tmp"):
                with suppress(FileNotFoundError):
                    stat = entry.stat()
                    if stat.st_ctime_ns > since_ns:
                        found.append(int(entry.name[5:-4]))
    return found


def _is_described(run_dir: Path, step: int) -> bool:
    return (run_dir / "checkpoints" / f"step-{step:08d}.tmp" / "manifest.json").exists()
