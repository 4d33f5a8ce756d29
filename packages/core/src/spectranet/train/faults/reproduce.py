"""What happened in a step that was skipped? It is run again, alone, on saved batches and an earlier state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spectranet.config import Resolved
from spectranet.contracts import Batch
from spectranet.errors import DataError
from spectranet.model.build import select_parts
from spectranet.model.spectranet import SpectraNet
from spectranet.train.checkpoint import (
    Checkpoint,
    CheckpointError,
    find_good_checkpoint,
    list_checkpoints,
    load_checkpoint,
    verify_checkpoint,
)
from spectranet.train.distributed import start_world
from spectranet.train.faults.finite import all_finite
from spectranet.train.faults.first_fault import Fault, FirstFault, faulty_operation
from spectranet.train.faults.skipped import SkippedStep
from spectranet.train.objective_pass import ObjectivePass, coefficients
from spectranet.train.parallel.parallelize import build_sharded
from spectranet.train.run import seed_step

__all__ = ["Replay", "replay"]

_SHOWN = 3


@dataclass(frozen=True)
class Replay:
    """What running a step again has shown.

    Attributes:
        state: which weights it ran on.
        faults: the first things that were not finite; empty where all was finite.
        operation: the operation whose backward was to blame, and its lines, if it was one.
    """

    step: SkippedStep
    resolved: Resolved
    state: str
    faults: list[Fault]
    operation: str | None

    def lines(self) -> Iterator[str]:
        """For people: the first fault, whose it is, in which samples; then what followed."""
        ranks = len(self.step.batches)
        yield f"step {self.step.step}, batches of {ranks} rank{'s' * (ranks > 1)}, {self.state}"
        if not self.faults:
            yield "everything is finite here: loss, and gradient of every parameter."
            yield "the fault needs the weights of its step; try a checkpoint nearer to it:  --checkpoint PATH"
            return
        first, *others = self.faults
        yield f"first:  {first.where} {first.what}"
        if owner := self._owner(first.where):
            yield f"  brought by plugin '{owner}'"
        if first.batch is not None:
            yield f"  in {self._place(first.batch)}"
        if first.samples:
            yield f"  samples: {_few(first.samples)}"
        if self.operation:
            yield from (f"  {line}" for line in self.operation.splitlines())
        for fault in others[:_SHOWN]:
            yield f"then:   {fault.where} {fault.what}"
        if len(others) > _SHOWN:
            yield f"        … and {len(others) - _SHOWN} more"

    def _place(self, batch: Batch) -> str:
        for rank, batches in enumerate(self.step.batches):
            for index, each in enumerate(batches):
                if (each.source, each.keys) == (batch.source, batch.keys):
                    return f"micro-batch {index} of rank {rank}, source '{batch.source}'"
        return f"source '{batch.source}'"

    def _owner(self, where: str) -> str | None:
        """The plugin of a module, a parameter or a term of the loss."""
        host, config = self.resolved.host, self.resolved.config
        kind, _, rest = where.partition(".")
        name = rest.partition(".")[0]
        if kind in ("encoders", "trunks"):
            return host.brought_by("modality" if kind == "encoders" else "trunk", name)
        if kind == "objectives":
            return host.brought_by("objective", name)
        return host.brought_by("objective", kind) if kind in config.objectives else None


def replay(step: SkippedStep, resolved: Resolved, checkpoint: Path | None = None) -> Replay:
    """Run the step forward and backward in this process, with all ranks' batches, and look for the fault.

    Blocks are neither compiled nor recomputed, so that modules can be looked at.

    Args:
        checkpoint: whose weights to take; None: the newest good one from before the step.

    Raises:
        DataError: the step was taken with modalities that the configuration does not have.
        CheckpointError: the checkpoint is damaged or does not fit.
    """
    config = resolved.config
    config.train.compile, config.train.activation_checkpointing = False, "none"
    config.train.keep_encoded = False
    world = start_world(config.train.device, config.train.threads)
    parts = select_parts(config, resolved.host.modalities, resolved.host.objectives)
    batches = [batch for some in step.batches for batch in some]
    if strange := {name for batch in batches for name in batch.modalities} - parts.modalities.keys():
        raise DataError(
            f"{step.path}: its batches have {', '.join(sorted(strange))}, the configuration has not"
        )
    model = build_sharded(config, parts, world)
    state = _load(model, step, Path(config.run_dir), checkpoint)
    passes = ObjectivePass(model, world, coefficients(config))

    def run() -> None:
        model.zero_grad()
        seed_step(step.facts["seed"], step.step - 1, world)
        passes(batches)

    faults = [
        Fault(name, "is a parameter that is not finite before the step")
        for name, tensor in model.state_dict().items()
        if not all_finite(tensor)
    ]
    finder = FirstFault(model)
    run()
    finder.remove()
    if faults or finder.forward:
        return Replay(step, resolved, state, faults + finder.forward, None)
    backward = finder.backward()
    return Replay(step, resolved, state, backward, faulty_operation(run) if backward else None)


def _load(model: SpectraNet, step: SkippedStep, run_dir: Path, chosen: Path | None) -> str:
    """Fill the model; returns which weights it has."""
    checkpoint = _nearest(run_dir / "checkpoints", step.step) if chosen is None else verify_checkpoint(chosen)
    if checkpoint is None:
        return "on the first weights of the run, since it has no intact checkpoint"
    load_checkpoint(checkpoint, model, None)
    ahead = checkpoint.step - (step.step - 1)
    steps = f"{abs(ahead)} step{'s' * (abs(ahead) > 1)}"
    away = "just as they were" if ahead == 0 else f"{steps} {'later' if ahead > 0 else 'earlier'}"
    return f"on the weights of {checkpoint.path.name} ({away})"


def _nearest(directory: Path, step: int) -> Checkpoint | None:
    """The newest good checkpoint from before ``step``; the oldest one after, where those are deleted."""
    before, _ = find_good_checkpoint(directory, before=step)
    if before is not None:
        return before
    for path in list_checkpoints(directory):
        try:
            return verify_checkpoint(path)
        except CheckpointError:
            continue
    return None


def _few(keys: tuple[str, ...], most: int = 8) -> str:
    return ", ".join(keys[:most]) + (f", … {len(keys) - most} more" if len(keys) > most else "")
