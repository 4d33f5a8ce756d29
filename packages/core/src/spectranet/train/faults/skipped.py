"""What is kept of a step that was skipped? A line for people, and all that it takes to run it again.

``skipped_steps.jsonl`` has a line a step: its samples by rank and micro-batch, the terms of the loss and the
parameters whose gradients were not finite. ``skipped/step-N/`` has the step itself, of the first few: a
safetensors file a rank with its batches, ``step.json``, and ``config.yaml``. Nothing is pickled.
``spectranet reproduce`` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from spectranet.contracts import Batch, ModalityBatch
from spectranet.errors import DataError

__all__ = ["KEPT", "SkippedStep", "read_skipped", "read_step", "write_batches", "write_step"]

KEPT = 3
"""Steps that are kept whole: a run that has diverged must not fill the disk."""

_TENSORS = tuple(item.name for item in fields(ModalityBatch) if item.name != "data")


@dataclass(frozen=True)
class SkippedStep:
    """A step that can be run again.

    Attributes:
        facts: what ``step.json`` says: ``step`` (steps done with it), ``seed``, ``ranks``, ``terms``, ….
        batches: by rank, in their order.
    """

    path: Path
    facts: Mapping[str, Any]
    batches: tuple[tuple[Batch, ...], ...]

    @property
    def step(self) -> int:
        """Steps that would have been done with it: one more than those that were."""
        return int(self.facts["step"])


def write_batches(folder: Path, rank: int, batches: Sequence[Batch]) -> None:
    """This rank's share of a step.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor for i, batch in enumerate(batches) for name, tensor in _tensors(f"{i}", batch)}
    # Batches are views of one block, and safetensors wants each tensor by itself.
    save_file({n: t.detach().cpu().clone().contiguous() for n, t in tensors.items()}, _file(folder, rank))


def write_step(folder: Path, facts: Mapping[str, Any], config: str) -> None:
    """On one rank, when all batches are written."""
    (folder / "config.yaml").write_text(config)
    (folder / "step.json").write_text(json.dumps(facts, indent=1))


def read_step(folder: Path) -> dict[str, Any]:
    """What ``step.json`` says.

    Raises:
        DataError: there is none, or half of one.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / "step.json").read_text())
        int(facts["step"]), int(facts["seed"]), list(facts["ranks"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        run = folder.parent if folder.parent.name == "skipped" else folder / "skipped"
        there = f"those of this run:  ls {run}" if run.is_dir() else "it is named RUN/skipped/step-N"
        raise DataError(
            f"'{folder}' is no skipped step: its step.json cannot be read ({error}).\n  {there}"
        ) from None
    return facts


def read_skipped(folder: Path) -> SkippedStep:
    """A whole step.

    Raises:
        DataError: a file is missing or damaged.
    """
    facts = read_step(folder)
    ranks = []
    for rank, told in enumerate(facts["ranks"]):
        file = _file(folder, rank)
        try:
            tensors = load_file(file)
            ranks.append(tuple(_batch(f"{i}", one, tensors) for i, one in enumerate(told["micro_batches"])))
        except (OSError, SafetensorError, KeyError) as error:
            raise DataError(f"{file} is not what was written: {type(error).__name__}: {error}") from None
    return SkippedStep(folder, facts, tuple(ranks))


def _file(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank:05d}.safetensors"


def _tensors(prefix: str, batch: Batch) -> Iterator[tuple[str, Tensor]]:
    yield f"{prefix}/ids_B", batch.ids_B
    for name, one in batch.modalities.items():
        for field in _TENSORS:
            yield f"{prefix}/{name}/{field}", getattr(one, field)
        for key, tensor in one.data.items():
            yield f"{prefix}/{name}/data/{key}", tensor


def _batch(prefix: str, told: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Batch:
    modalities = {}
    for name in told["modalities"]:
        head = f"{prefix}/{name}/data/"
        data = {key.removeprefix(head): tensor for key, tensor in tensors.items() if key.startswith(head)}
        view = {field: tensors[f"{prefix}/{name}/{field}"] for field in _TENSORS}
        modalities[name] = ModalityBatch(data=data, **view)
    return Batch(tuple(told["keys"]), told["source"], tensors[f"{prefix}/ids_B"], modalities)
