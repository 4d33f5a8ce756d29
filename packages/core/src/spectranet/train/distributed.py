"""One process or many: the process group, and the few collectives that a step needs."""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import os
import sys
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from spectranet.errors import ConfigError
from spectranet.train.parallel.mesh import check_shard_ranks, rank_mesh

__all__ = ["World", "leave", "meet", "start_world"]


@dataclass(frozen=True)
class World:
    """Who we are among the ranks, and on what device."""

    rank: int
    size: int
    device: torch.device
    mesh: DeviceMesh

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over all ranks, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def require_same(self, what: str, value: str) -> None:
        """Refuse to go on where ranks differ in ``what``; a collective call.

        Raises:
            ConfigError: on every rank; names the ranks that differ from rank 0.
        """
        digest = torch.tensor([list(hashlib.sha256(value.encode()).digest())], device=self.device)
        digests, _ = self.gather_rows(digest)
        if odd := [rank for rank in range(self.size) if not digests[rank].equal(digests[0])]:
            raise ConfigError(
                f"{what} differ between ranks: {', '.join(f'rank {rank}' for rank in odd)} against rank 0.\n"
                "  compare on each machine:  spectranet config show …;  the data"
            )

    def gather_rows(self, rows: Tensor) -> tuple[Tensor, slice]:
        """Rows of all ranks, (R, …) -> (sum of R, …), and which of them are our own.

        Ranks may bring different numbers of rows. No gradient flows through.
        """
        if self.size == 1:
            return rows, slice(0, len(rows))
        mine = torch.tensor([len(rows)])  # on the CPU: a GPU is not waited for
        counts = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(counts, mine)
        sizes = [int(count) for count in counts]
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        start = sum(sizes[: self.rank])
        everything = torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
        return everything, slice(start, start + len(rows))

    def tell_all(self, mine: Any) -> list[Any]:
        """What each rank has to tell, JSON, in the order of the ranks; a collective call."""
        text = torch.frombuffer(bytearray((json.dumps(mine) + "\n").encode()), dtype=torch.uint8)
        gathered, _ = self.gather_rows(text.to(self.device))
        return [json.loads(line) for line in bytes(gathered.tolist()).decode().splitlines()]


@functools.cache
def meet() -> tuple[dist.Store, int, int]:
    """The store by which the ranks find each other, our rank, and how many there are.

    Made once: without torchrun rank 0 holds it, and takes it along when it lets go.
    """
    store, rank, size = next(iter(dist.rendezvous("env://")))
    return store, rank, size


def start_world(
    device: str = "auto",
    threads: int | None = None,
    timeout_s: float = 1800.0,
    shard_ranks: int | None = None,
) -> World:
    """Join the process group that ``torchrun`` describes, or be a group of one.

    Args:
        shard_ranks: see :func:`spectranet.train.parallel.mesh.rank_mesh`.

    Raises:
        ConfigError: cuda is asked for and not there; the ranks cannot be cut into groups of ``shard_ranks``.
    """
    check_shard_ranks(int(os.environ.get("WORLD_SIZE", 1)), shard_ranks)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "train.device is cuda, but torch sees no GPU here.\n  run on CPU:  train.device=cpu"
        )
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    where = torch.device(device, local_rank) if device == "cuda" else torch.device("cpu")
    if device == "cuda":
        torch.cuda.set_device(where)
    torch.set_num_threads(threads or max(1, (os.cpu_count() or 1) // local_size))
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    timeout = datetime.timedelta(seconds=timeout_s)
    if dist.is_initialized():
        pass  # a second model in one process
    elif "RANK" in os.environ:
        store, rank, size = meet()
        store.set_timeout(timeout)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1, timeout=timeout)
    mesh = rank_mesh(device, dist.get_world_size(), shard_ranks)
    return World(dist.get_rank(), dist.get_world_size(), where, mesh)


def leave(code: int) -> NoReturn:
    """End the process: destroy the process group, exit without the interpreter's shutdown.

    Left to the interpreter, gloo's run loop can drop its last tensor while Python is finalising and
    abort the process ("terminate called without an active exception").
    """
    if dist.is_initialized():
        dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
