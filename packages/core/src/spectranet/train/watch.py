"""What keeps a run honest: non-finite steps are skipped, and signals end it in good order."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import torch

from spectranet.contracts import Batch
from spectranet.errors import SpectraNetError
from spectranet.train.distributed import World

__all__ = ["RESUME_ME", "DivergedError", "FiniteGuard", "StopFlag"]

RESUME_ME = 75
"""Exit code of a run that a signal ended after a checkpoint (EX_TEMPFAIL of sysexits.h)."""


class DivergedError(SpectraNetError):
    """Too many steps in a row had a non-finite gradient."""

    exit_code = 3


class FiniteGuard:
    """Decides whether a step may update the parameters, and writes down the samples of one that may not."""

    def __init__(self, run_dir: Path, world: World, limit: int = 10) -> None:
        self.path = run_dir / "skipped_steps.jsonl"
        self.world = world
        self.limit = limit
        self.in_a_row = 0

    def allows(self, step: int, grad_norm: float, batches: Sequence[Batch]) -> bool:
        """Whether ``grad_norm`` (the same on every rank) is finite.

        Raises:
            DivergedError: ``limit`` steps in a row were not.
        """
        if math.isfinite(grad_norm):
            self.in_a_row = 0
            return True
        self.in_a_row += 1
        record = {"step": step, "rank": self.world.rank, "keys": [[b.source, *b.keys] for b in batches]}
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        if self.in_a_row >= self.limit:
            raise DivergedError(
                f"the gradient was not finite in {self.limit} steps in a row, the last being step {step}.\n"
                f"  their samples:  {self.path}\n  try a smaller train.optimizer.lr_peak or a longer warm-up."
            )
        return False


class StopFlag:
    """SIGTERM and SIGUSR1 raise a flag, from construction on; ranks agree on it at the end of a step."""

    def __init__(self) -> None:
        self.raised = False
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._raise)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self.raised = True

    def agreed(self, world: World, counts: Sequence[float] = ()) -> tuple[bool, list[float]]:
        """Whether any rank was asked to stop, and the sums of ``counts`` over the ranks.

        A collective call, of as many counts on every rank: what else a step has to add up goes with it.
        """
        numbers = torch.tensor([float(self.raised), *counts], dtype=torch.float64, device=world.device)
        raised, *sums = world.sum(numbers).tolist()
        return raised > 0, sums
