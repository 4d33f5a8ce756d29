"""Kill a run of two ranks, at random, hundreds of times; compare it with one that nobody touched.

    python tests/kills/storm.py --kills 200 --seed 0

One rank or both get SIGKILL: while they start, in a step, inside a save, or as it gets its final name. They
are started again, from the newest checkpoint, until they reach the end; then another run begins. Every life
must go on where the newest complete checkpoint stands, leave no process behind, and nothing incomplete under
the name of a checkpoint. Every run must have taken, step by step, the samples of the untouched one, and have
its losses, its log of failures and its last checkpoint, bit by bit.

At least a quarter of the kills are inside a save: when the victims were stopped, a staging directory stood
there that this life had begun.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from aim import measure_pace, staging, wait_for
from life import ForkedLife, Life, Steps, waits
from small_run import CHECKPOINT_EVERY, arguments, write_data
from verdict import (
    checkpoints,
    complaints_about_life,
    complaints_about_run,
    curve,
    farthest,
    incomplete,
    samples_differ,
)

__all__ = ["Storm", "Tally"]

RANKS = 2
STEPS = 24
AIMS = {"start": 0.15, "step": 0.3, "save": 0.35, "name": 0.2}
"""What kills are aimed at, and how many; more at saves where those are missed."""
WAYS = {
    "data.workers": ("0", "1"),
    "train.checkpoint.asynchronous": ("true", "true", "false"),
    "train.checkpoint.keep_last": ("1", "2"),
}
"""In which each life may go on."""


@dataclass
class Tally:
    """What a storm has done.

    Attributes:
        wanted: kills; a quarter of them inside saves.
        kills: by victims and aim.
        others: exit codes of ranks whose neighbour was killed: -9 where they hung and were killed too.
            Under torchrun, its own exit code.
    """

    wanted: int
    inside_saves: int = 0
    runs: int = 0
    lives: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    others: Counter[int] = field(default_factory=Counter)
    began_s: float = field(default_factory=time.monotonic)

    @property
    def is_full(self) -> bool:
        return self.kills.total() >= self.wanted and self.inside_saves * 4 >= self.wanted

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kills.items()))
        return (
            f"{self.kills.total()} kills, {self.inside_saves} of them inside a save, in {self.runs} runs and "
            f"{self.lives} lives, {time.monotonic() - self.began_s:.0f} s\n  {kinds}\n"
            f"  exit codes of ranks whose neighbour was killed: {dict(self.others)}"
        )


class Storm:
    """Over runs of one configuration.

    Args:
        folder: gets the data, the runs and what each life told.
        seed: of the moments, the victims and the ways.
        steps: of each run.
    """

    def __init__(
        self, folder: Path, seed: int = 0, steps: int = STEPS, say: Callable[[str], None] = print
    ) -> None:
        self.folder = folder
        self.steps = steps
        self.say = say
        self.random = random.Random(seed)
        self.lives = 0
        write_data(folder / "data")
        self.untouched = folder / "untouched"
        with self.life(self.untouched) as life:
            self.pace = measure_pace(life, self.untouched, steps // CHECKPOINT_EVERY)
            codes = life.end()
            assert not any(codes), f"the untouched run ended with {codes}:\n{life.told()}"
            self.expected = life.steps()
        say(f"{self.pace}")

    def rage(self, kills: int, kind: type[Life] = ForkedLife) -> Tally:
        """Kill so many times, a quarter of them inside saves.

        Raises:
            AssertionError: a run was harmed; says how, and where to look.
        """
        tally = Tally(kills)
        while not tally.is_full:
            tally.runs += 1
            self.run(self.folder / f"run-{self.lives}", tally, kind)
            self.say(str(tally))
        return tally

    def run(self, run_dir: Path, tally: Tally, kind: type[Life]) -> None:
        """One run, killed until it reaches its end, or until there were enough kills."""
        lives: list[Steps] = []
        killed = "not yet"
        while killed:
            saved = checkpoints(run_dir)
            with self.life(run_dir, kind=kind) as life:
                tally.lives += 1
                killed = "" if tally.is_full else self.strike(life, run_dir, tally)
                codes = life.end()
                if killed:
                    tally.others.update(code for i, code in enumerate(codes) if i not in life.victims)
                lives.append(self.inspect(life, run_dir, saved, codes=[] if killed else codes))
            if killed:
                self.say(f"{tally.kills.total()}: {killed}; saved: {checkpoints(run_dir)}")
        complaints = [*complaints_about_run(run_dir, self.untouched), *samples_differ(lives, self.expected)]
        assert not complaints, "\n".join([str(run_dir), *complaints])

    def migrate(self, run_dir: Path, ranks: Sequence[int]) -> float:
        """One run on these numbers of ranks in turn, each killed after a checkpoint but the last.

        Returns:
            The farthest that a loss is from the untouched run's, relative.

        Raises:
            AssertionError: it took other samples.
        """
        lives: list[Steps] = []
        for turn, number in enumerate(ranks):
            saved = checkpoints(run_dir)
            is_last = turn == len(ranks) - 1
            with self.life(run_dir, number) as life:
                for _ in waits("another checkpoint"):
                    if checkpoints(run_dir)[-1:] != saved[-1:] or life.is_over():
                        break
                if not is_last:
                    assert not life.is_over(), f"ended too early on {number} ranks:\n{life.told()}"
                    life.send(signal.SIGKILL, [self.random.randrange(number)])
                codes = life.end()
                lives.append(self.inspect(life, run_dir, saved, codes=codes if is_last else []))
        differences = samples_differ(lives, self.expected)
        assert not differences, "\n".join(differences)
        return farthest(curve(run_dir), curve(self.untouched))

    def life(self, run_dir: Path, ranks: int = RANKS, kind: type[Life] = ForkedLife) -> Life:
        """Start a run, or go on with it, with one or another of what must make no difference."""
        self.lives += 1
        told = run_dir.with_name(f"{run_dir.name}-lives")
        told.mkdir(exist_ok=True)
        ways = [f"{option}={self.random.choice(values)}" for option, values in WAYS.items()]
        return kind(told, self.lives, ranks, arguments(self.folder / "data", run_dir, self.steps, *ways))

    def strike(self, life: Life, run_dir: Path, tally: Tally) -> str:
        """Wait for a random moment and kill; says what was done, nothing where the life was over."""
        aim = self.random.choices([*AIMS], [*AIMS.values()])[0]
        if tally.inside_saves * 4 < tally.kills.total():
            aim = "save"
        wait_for(aim, life, run_dir, self.pace, self.random, most_steps=2 * CHECKPOINT_EVERY)
        victims = self.random.choice([(0,), (1,), (0, 1)])
        if life.is_over():
            return ""
        life.victims = victims
        life.send(signal.SIGSTOP, victims)
        inside = bool(staging(run_dir, life.born_ns))
        life.send(signal.SIGKILL, victims)
        who = "both ranks" if len(victims) > 1 else f"rank {victims[0]}"
        tally.kills[f"{who} at a {aim}"] += 1
        tally.inside_saves += inside
        place = "inside a save" if inside else "outside saves"
        return f"{who} at a {aim}, {place}, in step {life.steps_begun()} of this life"

    def inspect(self, life: Life, run_dir: Path, saved: Sequence[int], codes: Sequence[int]) -> Steps:
        """The steps that a life has begun.

        Args:
            saved: of which steps there were checkpoints when it began.
            codes: of ranks that nobody has killed.

        Raises:
            AssertionError: something is wrong with it.
        """
        steps = life.steps()
        complaints = [*complaints_about_life([*steps], saved, life.told()), *incomplete(run_dir)]
        if any(codes):
            complaints.append(f"ended with exit codes {codes}, and nobody had killed it")
        for waited_s in waits("the end of data workers"):
            left = life.survivors()
            if not left:
                break
            if waited_s > 20:
                complaints.append(f"processes {left} live on")
                break
        assert not complaints, "\n".join([*complaints, f"{life.told_in}:", life.told()])
        return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder", type=Path, help="for runs and what they told, to stay; default: a passing one"
    )
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    folder = given.folder or Path(tempfile.mkdtemp(prefix="storm-"))
    print(f"in {folder}", flush=True)
    Storm(folder, given.seed, say=partial(print, flush=True)).rage(given.kills)
    print("no run was harmed")
    if given.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
