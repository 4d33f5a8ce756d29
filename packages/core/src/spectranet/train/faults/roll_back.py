"""What if the steps of a run stay not finite? Its weights go back to an earlier state, the data goes on.

The same samples on the same weights would meet the same fault, so only the weights and the optimizer return:
the run goes on with the samples that follow. So did PaLM at spikes of its loss (Chowdhery et al. 2022,
section 5.1), which came from certain data on a certain state of the weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectranet.train.checkpoint import find_good_checkpoint, load_checkpoint
from spectranet.train.checkpoint.peers import find_peers
from spectranet.train.faults.finite import DivergedError, FiniteGuard

if TYPE_CHECKING:
    from spectranet.train.run import Run

__all__ = ["RollBack"]


class RollBack:
    """Takes a run back, at most once to each checkpoint.

    Nothing of it needs to be kept for a resume: a checkpoint that is written afterwards has the weights that
    went back and the steps that went on. Resumed from one before, the run does the same steps again.
    """

    def __init__(self, run: Run, guard: FiniteGuard) -> None:
        self._run = run
        self._guard = guard
        self._last: int | None = None

    def when_due(self, done: int) -> None:
        """Go back if too many steps in a row, up to ``done``, were skipped; a collective call then.

        Raises:
            DivergedError: there is nothing to go back to, or going back to it has not helped.
        """
        if not self._guard.too_many:
            return
        run = self._run
        run.progress.enter("roll-back")
        run.saver.wait()
        # A checkpoint written since the first of them holds the very weights that fail.
        unspoilt = done - self._guard.in_a_row
        folder = run.directory / "checkpoints"
        checkpoint, complaints = find_good_checkpoint(
            folder, find_peers(f"roll-back/{done}"), before=unspoilt
        )
        for complaint in complaints:
            run.journal.event("warning", done, f"warning: {complaint}")
        if checkpoint is None:
            raise self._error(done, f"there is no checkpoint from before step {unspoilt} to go back to")
        if checkpoint.step == self._last:
            raise self._error(done, f"going back to {checkpoint.path} has not helped")
        load_checkpoint(checkpoint, run.model, run.optimizer)
        self._last = checkpoint.step
        self._guard.in_a_row = 0
        run.journal.event(
            "rollback",
            done,
            f"{self._guard.limit} steps in a row were skipped: weights and optimizer are back at step "
            f"{checkpoint.step} ({checkpoint.path}); the data goes on with step {done + 1}",
        )
        run.journal.record(done, {"rolled_back_to": float(checkpoint.step)})

    def _error(self, done: int, why: str) -> DivergedError:
        guard = self._guard
        again = f"\n  run one again:  spectranet reproduce {guard.reproducer}" if guard.reproducer else ""
        return DivergedError(
            f"loss or gradient was not finite in {guard.in_a_row} steps in a row, the last being step "
            f"{done}, and {why}.\n  their samples:  {guard.run_dir / 'skipped_steps.jsonl'}{again}\n"
            "  try a smaller train.optimizer.lr_peak, a longer train.optimizer.warmup_steps, or "
            "train.precision=fp32"
        )
