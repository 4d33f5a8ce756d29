"""How does the state of a checkpoint come into a model, on any number of ranks?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from spectranet.model.build import part_of
from spectranet.train.checkpoint.directory import Checkpoint, CheckpointError
from spectranet.train.checkpoint.shards import DTYPES, OFFSETS, Shard, local_part, state_of, trained

__all__ = ["load_checkpoint"]

_MOST_LINES = 3


class _UnreadableError(CheckpointError):
    """A rank cannot read what it needs; the others may."""

    same_on_all_ranks = False


def load_checkpoint(
    checkpoint: Checkpoint,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    accept_changed_model: bool = False,
) -> list[str]:
    """Fill model and optimizer from a verified checkpoint, written by any number of ranks.

    Args:
        accept_changed_model: what the checkpoint lacks keeps its first values, what it has more is left.

    Returns:
        What was loaded, what is new and what was left, if that is not everything.

    Raises:
        CheckpointError: a tensor is missing, surplus or has another shape or dtype; the message names three.
    """
    state = state_of(model, optimizer)
    stored: Mapping[str, Any] = checkpoint.manifest["tensors"]
    new, left = state.keys() - stored.keys(), stored.keys() - state.keys()
    if optimizer is None:
        left = {name for name in left if name.startswith("model.")}
    _refuse_misfits(checkpoint, state, stored, new, left, accept_changed_model)
    _read(checkpoint, {name: tensor for name, tensor in state.items() if name not in new})
    model.load_state_dict({n.removeprefix("model."): t for n, t in state.items() if n.startswith("model.")})
    if optimizer is not None:
        steps = checkpoint.manifest["optimizer_steps"]
        for name, parameter in trained(model, optimizer):
            optimizer.state[parameter]["step"].fill_(steps.get(name, 0))
    return _told(state, stored, new, left) if new or left else []


def _refuse_misfits(
    checkpoint: Checkpoint,
    state: Mapping[str, Tensor],
    stored: Mapping[str, Any],
    new: Iterable[str],
    left: Iterable[str],
    accept: bool,
) -> None:
    """What is new or left may be accepted; what has another shape or dtype cannot be."""
    here = {name: [list(tensor.shape), str(tensor.dtype)] for name, tensor in state.items()}
    both = _weights_first(here.keys() & stored.keys())
    other = [f"{n}: here {here[n]}, stored {stored[n]}" for n in both if here[n] != stored[n]]
    missing = [] if accept else [f"{name}: here {here[name]}, stored None" for name in _weights_first(new)]
    surplus = [] if accept else [f"{name}: here None, stored {stored[name]}" for name in _weights_first(left)]
    bad = [*other, *missing, *surplus]
    if not bad:
        return
    more = f"\n  … and {len(bad) - _MOST_LINES} more tensors" if len(bad) > _MOST_LINES else ""
    accepted = (
        ""
        if other
        else (
            "\n  or go on with new parts as initialised and surplus ones left behind:  "
            "train.checkpoint.accept_changed_model=true"
        )
    )
    raise CheckpointError(
        f"checkpoint {checkpoint.path} does not fit this model:\n  "
        + "\n  ".join(bad[:_MOST_LINES])
        + more
        + "\n  use the configuration it was trained with, or another run_dir."
        + accepted
    )


def _weights_first(names: Iterable[str]) -> list[str]:
    """Moments only repeat what is to be said of their weights."""
    return sorted(names, key=lambda name: (not name.startswith("model."), name))


def _read(checkpoint: Checkpoint, tensors: Mapping[str, Tensor]) -> None:
    """Copy into ``tensors`` what the checkpoint has of them, file by file."""
    wanted = {name: local_part(name, tensor) for name, tensor in tensors.items()}
    found: Counter[str] = Counter()
    for file in sorted(name for name in checkpoint.manifest["files"] if name.endswith(".safetensors")):
        path = checkpoint.path / file
        try:
            found.update(_read_file(path, wanted))
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise _UnreadableError(f"checkpoint {checkpoint.path}: {file} cannot be read ({error})") from None
    short = [name for name, part in wanted.items() if found[name] != part.values.numel()]
    if short:
        raise _UnreadableError(
            f"checkpoint {checkpoint.path}: its files hold {found[short[0]]} of the "
            f"{wanted[short[0]].values.numel()} values of {short[0]} that this rank needs"
        )


def _read_file(path: Path, wanted: Mapping[str, Shard]) -> dict[str, int]:
    """Copy what ``path`` has of the wanted parts; returns how many values of each."""
    found = {}
    with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
        offsets = json.loads((file.metadata() or {})[OFFSETS])
        for name in file.keys() & wanted.keys():
            part, stored = wanted[name], file.get_slice(name)
            if stored.get_dtype() != DTYPES[part.values.dtype]:
                raise ValueError(f"{name} is {stored.get_dtype()} there")
            begin = offsets[name]["saved_offsets"]
            here, there = _overlap(part, begin, stored.get_shape())
            values = part.values[here]
            if values.numel():
                values.copy_(stored[there] if there else file.get_tensor(name))
            found[name] = values.numel()
    return found


def _overlap(
    part: Shard, begin: Sequence[int], shape: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The values that both have: as slices of the part, and of what is stored from ``begin`` on."""
    here, there = [], []
    sizes = part.values.shape
    for my_begin, my_size, its_begin, its_size in zip(part.offsets, sizes, begin, shape, strict=True):
        first = max(my_begin, its_begin)
        last = max(first, min(my_begin + my_size, its_begin + its_size))
        here.append(slice(first - my_begin, last - my_begin))
        there.append(slice(first - its_begin, last - its_begin))
    return tuple(here), tuple(there)


def _told(
    state: Mapping[str, Tensor], stored: Mapping[str, Any], new: Iterable[str], left: Iterable[str]
) -> list[str]:
    """How many parameters of which parts were loaded, are new, were left."""
    sizes = {name: tensor.numel() for name, tensor in state.items()}
    sizes |= {name: torch.Size(stored[name][0]).numel() for name in left}
    lines = []
    for what, names in (
        ("loaded", state.keys() - set(new)),
        ("new, as initialised", new),
        ("left in the checkpoint", left),
    ):
        parts: Counter[str] = Counter()
        for name in sorted(names):
            if name.startswith("model."):
                parts[part_of(name.removeprefix("model."))] += sizes[name]
        if parts:
            listed = ", ".join(f"{part} {count:,}" for part, count in parts.items())
            lines.append(f"{what}: {sum(parts.values()):,} parameters: {listed}")
    return lines
