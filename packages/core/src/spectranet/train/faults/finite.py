"""A step whose loss or gradient is not finite changes nothing, and is written down; too many are not borne.

The gradient's norm decides. It is the same on every rank, and not finite where any rank's loss is not
(see ``objective_pass.py``), so a good step costs one look at a number that the host has anyway.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.tensor import DTensor

from spectranet.config.schema import TrainConfig
from spectranet.contracts import Batch
from spectranet.errors import SpectraNetError
from spectranet.model.build import part_of
from spectranet.model.spectranet import SpectraNet
from spectranet.train.distributed import World
from spectranet.train.faults.skipped import KEPT, write_batches, write_step
from spectranet.train.journal.journal import Journal
from spectranet.train.stopping.ending import DIVERGED

__all__ = ["DivergedError", "FiniteGuard", "all_finite"]

_NAMED = 3
"""Parameters of a part, or keys of a micro-batch, that a message names."""


class DivergedError(SpectraNetError):
    """Too many steps in a row were not finite, and an earlier state has not helped. All ranks come to it."""

    exit_code = DIVERGED
    same_on_all_ranks = True


class FiniteGuard:
    """Decides whether a step may update the parameters, and writes down one that may not.

    Making one is a collective call.

    Args:
        options: section ``train``: ``skip_limit``, and the seed for who runs a step again.
        config: gives the run's configuration as YAML.
    """

    def __init__(
        self,
        run_dir: Path,
        model: SpectraNet,
        world: World,
        journal: Journal,
        options: TrainConfig,
        config: Callable[[], str],
    ) -> None:
        self.run_dir = run_dir
        self.limit = options.skip_limit
        self._model = model
        self._world = world
        self._journal = journal
        self._seed = options.seed
        self._config = config
        self.in_a_row = 0
        self.skipped = 0
        self.reproducer: Path | None = None
        """The newest step that is kept whole."""
        kept = len(list((run_dir / "skipped").glob("step-*"))) if world.is_main else 0
        self._kept = int(world.sum(torch.tensor([kept], device=world.device)).item())

    @property
    def too_many(self) -> bool:
        """Whether as many steps in a row were skipped as may be."""
        return self.in_a_row >= self.limit

    def allows(
        self, step: int, grad_norm: float, sums: Mapping[str, Tensor], batches: Sequence[Batch]
    ) -> bool:
        """Whether the gradient of ``step`` (from 0) may be used; a collective call where it may not.

        Args:
            grad_norm: of the whole gradient, the same on every rank.
            sums: this rank's sums of the terms of the loss.
        """
        if math.isfinite(grad_norm):
            self.in_a_row = 0
            return True
        self.in_a_row += 1
        self.skipped += 1
        self._write_down(step + 1, sums, batches)
        return False

    def figures(self) -> dict[str, float]:
        """For the journal: how many steps this process has skipped, if any."""
        return {"skipped_steps": float(self.skipped)} if self.skipped else {}

    def _write_down(self, done: int, sums: Mapping[str, Tensor], batches: Sequence[Batch]) -> None:
        """All ranks tell what they have seen; rank 0 writes it. A full disk ends no run."""
        folder = self.run_dir / "skipped" / f"step-{done:08d}"
        keep = self._kept < KEPT
        mine: dict[str, Any] = {
            "micro_batches": [
                {"source": b.source, "keys": list(b.keys), "modalities": list(b.modalities)} for b in batches
            ],
            "terms": sorted(term for term, value in sums.items() if not all_finite(value)),
            "gradients": self._gradients_not_finite(),
            "error": None,
        }
        if keep:
            self._kept += 1
            try:
                write_batches(folder, self._world.rank, batches)
            except (OSError, SafetensorError) as error:
                mine["error"] = f"{type(error).__name__}: {error}"
        ranks = self._world.tell_all(mine)
        errors = [told.pop("error") for told in ranks]
        gradients = _merged([told.pop("gradients") for told in ranks])
        facts = {"step": done, "seed": self._seed, "gradients": gradients, "ranks": ranks}
        problem = next((error for error in errors if error), None)
        if self._world.is_main:
            try:
                if keep and problem is None:
                    write_step(folder, facts, self._config())
                with (self.run_dir / "skipped_steps.jsonl").open("a") as file:
                    file.write(json.dumps(facts) + "\n")
            except OSError as error:
                problem = f"{type(error).__name__}: {error}"
        if keep and not any(errors):
            self.reproducer = folder
        self._journal.event("skipped", done, self._sentence(done, gradients, ranks))
        if problem is not None:
            self._journal.say(f"warning: the skipped step {done} could not be written down: {problem}")

    def _sentence(
        self, done: int, gradients: Mapping[str, list[str]], ranks: Sequence[Mapping[str, Any]]
    ) -> str:
        terms = sorted({term for told in ranks for term in told["terms"]})
        guilty = [rank for rank, told in enumerate(ranks) if told["terms"]]
        if terms:
            on = f" on rank {', '.join(map(str, guilty))}" if len(guilty) < len(ranks) else ""
            what = f"loss {', '.join(terms)} is not finite{on}"
        else:
            named = "; ".join(f"{part} ({', '.join(names)})" for part, names in gradients.items())
            what = f"the loss is finite, the gradient is not, of {named or 'no single parameter: its norm'}"
        here = self.reproducer is not None and self.reproducer.name == f"step-{done:08d}"
        again = f"\n  run it again:  spectranet reproduce {self.reproducer}" if here else ""
        row = f" ({self.in_a_row} in a row)" if self.in_a_row > 1 else ""
        return f"step {done} is skipped{row}: {what}{again}"

    def _gradients_not_finite(self) -> dict[str, list[str]]:
        """Part of the model -> its parameters whose gradient is not finite, in this rank's shard."""
        bad: dict[str, list[str]] = {}
        for name, parameter in self._model.named_parameters():
            if parameter.grad is not None and not all_finite(parameter.grad):
                bad.setdefault(part_of(name), []).append(name)
        return bad


def _merged(gradients: Sequence[Mapping[str, list[str]]]) -> dict[str, list[str]]:
    """Part -> the first parameters that any rank named, and how many more there are."""
    merged: dict[str, dict[str, None]] = {}
    for told in gradients:
        for part, names in told.items():
            merged.setdefault(part, {}).update(dict.fromkeys(names))
    return {
        part: [*list(names)[:_NAMED], *([f"and {len(names) - _NAMED} more"] if len(names) > _NAMED else [])]
        for part, names in merged.items()
    }


def all_finite(tensor: Tensor) -> bool:
    """Of a tensor that is sharded, this rank's part."""
    local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return not local.is_floating_point() or bool(torch.isfinite(local).all())
