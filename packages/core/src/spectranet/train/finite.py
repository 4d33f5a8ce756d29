"""A step whose gradient is not finite is skipped, and its samples are written down."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from spectranet.contracts import Batch
from spectranet.errors import SpectraNetError
from spectranet.train.distributed import World

__all__ = ["DivergedError", "FiniteGuard"]


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
