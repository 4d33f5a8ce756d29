"""What of the state does this rank hold, and how does it become a file?

A file is plain safetensors: a tensor of it is this rank's part of the whole one. Where that part begins
stands in the file's metadata, under the key that torch.distributed.checkpoint gives it, so that its
``HuggingFaceStorageReader`` reads the files as well as we do.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from spectranet.train.checkpoint.directory import CheckpointError

__all__ = [
    "DTYPES",
    "OFFSETS",
    "Shard",
    "Stage",
    "cut",
    "local_part",
    "shards_to_write",
    "state_of",
    "trained",
    "write",
]

OFFSETS = "DCP_SHARDING_INFO"
"""Key of the metadata: JSON, name -> ``{"saved_offsets": [...]}``."""

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""As safetensors calls them."""

_ALIGNED = 64
"""Bytes: where a tensor may begin in the copy."""

_FILE_BYTES = 1 << 30

_FROM_GPU = 4
"""Blocks that may wait for being hashed where each is a copy of its own."""


@dataclass(frozen=True)
class Shard:
    """A part of a tensor.

    Attributes:
        values: as on this rank, contiguous.
        offsets: where it begins in the whole tensor, by dimension.
    """

    name: str
    values: Tensor
    offsets: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return self.values.numel() * self.values.element_size()


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer | None) -> dict[str, Tensor]:
    """Every tensor to keep, by name: ``model.<name>``, ``exp_avg.<name>``, ``exp_avg_sq.<name>``."""
    tensors = {f"model.{name}": tensor.detach() for name, tensor in model.state_dict().items()}
    if optimizer is not None:
        for name, parameter in trained(model, optimizer):
            for moment in ("exp_avg", "exp_avg_sq"):
                tensors[f"{moment}.{name}"] = optimizer.state[parameter][moment]
    return tensors


def trained(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    """Parameters by name, without those that a plugin has frozen."""
    return ((name, p) for name, p in model.named_parameters() if p in optimizer.state)


def local_part(name: str, tensor: Tensor) -> Shard:
    """What this rank holds of ``tensor``; possibly nothing."""
    if not isinstance(tensor, DTensor):
        return Shard(name, tensor, (0,) * tensor.dim())
    _, offsets = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return Shard(name, tensor.to_local(), tuple(offsets))


def shards_to_write(tensors: Mapping[str, Tensor], rank: int) -> list[Shard]:
    """What this rank writes, so that every value is written by one rank: of replicas the first.

    Raises:
        CheckpointError: a tensor is of a type that safetensors cannot hold.
    """
    for name, tensor in tensors.items():  # also what others write: all ranks refuse it, or none
        if tensor.dtype not in DTYPES:
            raise CheckpointError(
                f"{name} is of {tensor.dtype}, which no checkpoint holds.\n"
                "  a buffer that can be computed again is registered with persistent=False"
            )
    parts = [local_part(name, t) for name, t in tensors.items() if _writes(t, rank)]
    return [part for part in parts if part.values.numel()]


def _writes(tensor: Tensor, rank: int) -> bool:
    if not isinstance(tensor, DTensor):
        return rank == 0
    place = tensor.device_mesh.get_coordinate()
    if place is None:
        return False
    return all(
        at == 0 for at, how in zip(place, tensor.placements, strict=True) if isinstance(how, Replicate)
    )


def cut(shards: Sequence[Shard], most: int = _FILE_BYTES) -> Iterator[list[Shard]]:
    """Files' worth of shards, of about ``most`` bytes: several files are read and verified at once."""
    file: list[Shard] = []
    size = 0
    for shard in shards:
        if file and size + shard.bytes > most:
            yield file
            file, size = [], 0
        file.append(shard)
        size += shard.bytes
    if file:
        yield file


class Stage:
    """A copy of the shards in host memory, from which they are written while training goes on.

    It is allocated once, pinned where the shards are on a GPU, and used again by the next save.
    """

    def __init__(self) -> None:
        self._buffer = torch.empty(0, dtype=torch.uint8)

    def copy(self, shards: Sequence[Shard]) -> list[Shard]:
        """The same shards as they are now; overwrites what the last call gave."""
        on_gpu = any(shard.values.is_cuda for shard in shards)
        ends = list(accumulate(-(-shard.bytes // _ALIGNED) * _ALIGNED for shard in shards))
        if ends and len(self._buffer) < ends[-1]:
            self._buffer = torch.empty(0, dtype=torch.uint8)  # let go of the old one first
            self._buffer = torch.empty(ends[-1], dtype=torch.uint8, pin_memory=on_gpu)
        copies = []
        for shard, begin in zip(shards, [0, *ends], strict=False):
            room = self._buffer[begin : begin + shard.bytes]
            values = room.view(shard.values.dtype).view(shard.values.shape)
            copies.append(replace(shard, values=values.copy_(shard.values, non_blocking=True)))
        if on_gpu:
            torch.cuda.current_stream().synchronize()
        return copies


def write(path: Path, shards: Sequence[Shard]) -> dict[str, Any]:
    """Write a safetensors file and make it durable; returns its size and SHA-256.

    Another thread hashes the same bytes while they are written and while the disk takes them: hashing and
    writing release the interpreter's lock.

    Raises:
        OSError: it cannot be written; names the file.
    """
    digest, size = hashlib.sha256(), 0
    hashing: deque[Future[None]] = deque()
    # What comes from a GPU block by block must not pile up; what lies in memory anyway may wait.
    most = _FROM_GPU if any(shard.values.is_cuda for shard in shards) else len(shards) + 1
    with _naming(path), path.open("wb") as file, ThreadPoolExecutor(1, "sha256") as aside:
        for block in _blocks(shards):
            hashing.append(aside.submit(digest.update, block))
            file.write(block)
            size += len(block)
            if len(hashing) > most:
                hashing.popleft().result()
        file.flush()
        os.fsync(file.fileno())
    for each in hashing:
        each.result()
    return {"bytes": size, "sha256": digest.hexdigest()}


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """What goes wrong with ``path`` says so: a failed write does not."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _blocks(shards: Sequence[Shard]) -> Iterator[memoryview]:
    yield memoryview(_header(shards))
    for shard in shards:
        values = shard.values.cpu().contiguous().reshape(-1)
        yield memoryview(values.view(torch.uint8).numpy())


def _header(shards: Sequence[Shard]) -> bytes:
    """As https://huggingface.co/docs/safetensors describes it: length, JSON, spaces up to a multiple of 8."""
    offsets = {shard.name: {"saved_offsets": list(shard.offsets)} for shard in shards}
    header: dict[str, Any] = {"__metadata__": {OFFSETS: json.dumps(offsets)}}
    begin = 0
    for shard in shards:
        end = begin + shard.bytes
        header[shard.name] = {
            "dtype": DTYPES[shard.values.dtype],
            "shape": list(shard.values.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
