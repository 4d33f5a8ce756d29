"""Checkpoints: one immutable directory a step, verified before it is believed.

``step-N/`` holds safetensors files (each rank's shards, written by DCP) and ``manifest.json``:
SHA-256 and size of every file, shape and dtype of every tensor, the optimizer's step counts, config,
plugin digest and topology. It is written as ``step-N.tmp``, synced, and renamed, so a directory with
the final name is complete. Nothing is pickled and nothing is unpickled: DCP's own ``.metadata`` runs
code on load and misses flipped bytes, which is why it is not used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException

from spectranet.errors import SpectraNetError
from spectranet.train.distributed import World

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "find_good_checkpoint",
    "list_checkpoints",
    "load_checkpoint",
    "save_checkpoint",
    "verify_checkpoint",
]

MANIFEST = "manifest.json"


class CheckpointError(SpectraNetError):
    """A checkpoint is damaged, incomplete or does not fit the model."""


@dataclass(frozen=True)
class Checkpoint:
    path: Path
    manifest: dict[str, Any]

    @property
    def step(self) -> int:
        """Optimizer steps done when it was written."""
        return int(self.manifest["step"])


def tensors_of(model: nn.Module, optimizer: torch.optim.Optimizer | None) -> dict[str, Tensor]:
    """Every tensor to keep, by name: ``model.<name>``, ``exp_avg.<name>``, ``exp_avg_sq.<name>``."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if optimizer is not None:
        for name, parameter in _trained(model, optimizer):
            for moment in ("exp_avg", "exp_avg_sq"):
                tensors[f"{moment}.{name}"] = optimizer.state[parameter][moment]
    return tensors


def save_checkpoint(
    directory: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    about: Mapping[str, Any],
    world: World,
    keep_last: int,
) -> Path:
    """Write ``directory/step-N`` from all ranks; returns its path.

    Args:
        step: optimizer steps done.
        about: JSON-able facts for the manifest: config, plugin digest, topology.
        keep_last: older checkpoints beyond this many are deleted once the new one is complete.
    """
    final = directory / f"step-{step:08d}"
    staging = final.with_suffix(".tmp")
    if world.is_main:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
    dist.barrier()
    tensors = tensors_of(model, optimizer)
    try:
        dcp.save(tensors, storage_writer=HuggingFaceStorageWriter(str(staging), save_distributed=True))
    except CheckpointException as error:  # a BaseException, which nobody else would catch
        raise CheckpointError(f"checkpoint {staging} cannot be written: {_cause(error)}") from None
    dist.barrier()
    if world.is_main:
        manifest = dict(about) | {
            "format": 1,
            "step": step,
            "files": {path.name: _describe(path) for path in sorted(staging.iterdir())},
            "tensors": {name: [list(t.shape), str(t.dtype)] for name, t in sorted(tensors.items())},
            "optimizer_steps": {
                name: int(optimizer.state[p]["step"]) for name, p in _trained(model, optimizer)
            },
        }
        (staging / MANIFEST).write_text(json.dumps(manifest, indent=1))
        _sync(staging)
        _put_in_place(staging, final)
        _forget(directory, step, keep_last)
    dist.barrier()
    return final


def _put_in_place(staging: Path, final: Path) -> None:
    """Rename, keeping what stood there before until the new one has its name."""
    old = final.with_suffix(".old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    staging.rename(final)
    _sync_directory(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def _forget(directory: Path, step: int, keep_last: int) -> None:
    """Delete all but the newest ``keep_last`` up to ``step``, and those beyond it.

    Checkpoints of later steps are what an earlier life of the run left when it fell back.
    """
    upto = [path for path in list_checkpoints(directory) if _step_of(path) <= step]
    beyond = [path for path in list_checkpoints(directory) if _step_of(path) > step]
    for path in [*upto[:-keep_last], *beyond]:
        if path.is_symlink():
            path.unlink()
        else:
            shutil.rmtree(path)


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _trained(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    """Parameters by name, without those that a plugin has frozen."""
    return ((name, p) for name, p in model.named_parameters() if p in optimizer.state)


def _cause(error: CheckpointException) -> str:
    """The first rank's reason, on one line."""
    rank, (reason, _) = next(iter(error.failures.items()))
    return f"rank {rank}: {type(reason).__name__}: {reason}"


def list_checkpoints(directory: Path) -> list[Path]:
    """Complete checkpoint directories, the oldest first."""
    if not directory.is_dir():
        return []
    return sorted(p for p in directory.iterdir() if re.fullmatch(r"step-\d{8,}", p.name) and p.is_dir())


def find_good_checkpoint(directory: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint whose every byte is as written, and a complaint for each bad newer one."""
    complaints: list[str] = []
    for path in reversed(list_checkpoints(directory)):
        try:
            return verify_checkpoint(path), complaints
        except CheckpointError as error:
            complaints.append(str(error))
    return None, complaints


def verify_checkpoint(path: Path) -> Checkpoint:
    """Read the manifest and compare every file with it.

    Raises:
        CheckpointError: names the file that is missing, short, changed or unexpected.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        files: dict[str, dict[str, Any]] = manifest["files"]
        int(manifest["step"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"checkpoint {path}: {MANIFEST} cannot be read ({error})") from None
    # Other strangers (.DS_Store, .nfs…) are left alone; a tensor file would be read.
    found = {p.name for p in path.iterdir() if p.name in files or p.suffix == ".safetensors"}
    if odd := found ^ set(files):
        raise CheckpointError(f"checkpoint {path}: missing or unexpected file {sorted(odd)[0]}")
    for name, told in files.items():
        if _describe(path / name) != told:
            raise CheckpointError(f"checkpoint {path}: {name} is not what was written (SHA-256 differs)")
    return Checkpoint(path, manifest)


def load_checkpoint(
    checkpoint: Checkpoint, model: nn.Module, optimizer: torch.optim.Optimizer | None
) -> None:
    """Fill model and optimizer from a verified checkpoint, written by any number of ranks.

    Raises:
        CheckpointError: a tensor is missing or has another shape or dtype; the message names three.
    """
    tensors = tensors_of(model, optimizer)
    stored = checkpoint.manifest["tensors"]
    wanted = {name: [list(t.shape), str(t.dtype)] for name, t in tensors.items()}
    if bad := [f"{n}: here {w}, stored {stored.get(n)}" for n, w in wanted.items() if stored.get(n) != w]:
        more = f"\n  … and {len(bad) - 3} more tensors" if len(bad) > 3 else ""
        raise CheckpointError(
            f"checkpoint {checkpoint.path} does not fit this model:\n  "
            + "\n  ".join(bad[:3])
            + more
            + "\n  use the configuration it was trained with, or another run_dir."
        )
    try:
        dcp.load(tensors, storage_reader=HuggingFaceStorageReader(str(checkpoint.path)))
    except CheckpointException as error:
        raise CheckpointError(f"checkpoint {checkpoint.path} cannot be read: {_cause(error)}") from None
    model.load_state_dict({n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
    if optimizer is not None:
        for name, parameter in _trained(model, optimizer):
            optimizer.state[parameter]["step"].fill_(checkpoint.manifest["optimizer_steps"][name])


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _sync(directory: Path) -> None:
    """Make every file's bytes durable before the rename makes them visible."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(_sync_file, directory.iterdir()))
    _sync_directory(directory)


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
