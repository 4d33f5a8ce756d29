"""Which devices can a run be planned for, and what do their makers promise?"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from spectranet.errors import ConfigError, did_you_mean

__all__ = ["GPUS", "Gpu", "find_gpu", "gpu_hours", "gpu_named"]

GIB = 2**30


@dataclass(frozen=True)
class Gpu:
    """Data-sheet figures of one device, in a server of eight where it is a GPU.

    Attributes:
        bf16_flops: dense matrix products a second, without sparsity; of bfloat16, summed in fp32.
        fp32_flops: the same of fp32, without TF32.
        memory_bytes: what a program finds free.
        memory_bandwidth: bytes a second to its own memory.
        node: devices of one server.
        node_bandwidth: bytes a second and direction to the others of the server.
        network_bandwidth: bytes a second and direction to other servers, per device.
    """

    name: str
    bf16_flops: float
    fp32_flops: float
    memory_bytes: int
    memory_bandwidth: float
    node: int
    node_bandwidth: float
    network_bandwidth: float

    def flops(self, precision: str) -> float:
        """A second, at the best."""
        return self.bf16_flops if precision == "bf16" else self.fp32_flops

    def link(self, devices: int) -> float:
        """Bytes a second and direction, per device, of rings through ``devices`` that follow one another.

        Between servers as many rings run beside one another as a server has devices, each entering it by
        another device's network card: a server takes in what all its cards do together. (Two servers
        of eight 100 Gbit/s cards reach 600 Gbit/s: https://github.com/NVIDIA/nccl/issues/495.)
        """
        if devices <= self.node:
            return self.node_bandwidth
        return min(self.node_bandwidth, self.node * self.network_bandwidth)

    def link_between_copies(self, devices: int, shard: int) -> float:
        """The same of rings through the copies of a model, each on ``shard`` devices that follow one another.

        A server that holds one copy or a part of it has a ring for each of its devices, with a card to
        itself; one of several copies has fewer rings, which share its cards.
        """
        if devices <= self.node:
            return self.node_bandwidth
        return min(self.node_bandwidth, max(1, self.node // shard) * self.network_bandwidth)


def _this_cpu() -> Gpu:
    """A rank on this machine's processor: 32 fp32 FLOPs a cycle (AVX2) at 3 GHz on each core."""
    cores = os.cpu_count() or 1
    flops = cores * 32 * 3e9
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Gpu("cpu", flops, flops, memory, 20e9, 1, 10e9, 1.25e9)


_MADE = (
    Gpu("h100-80gb", 989e12, 67e12, 79 * GIB, 3.35e12, 8, 450e9, 50e9),
    Gpu("h200", 989e12, 67e12, 139 * GIB, 4.8e12, 8, 450e9, 50e9),
    Gpu("a100-80gb", 312e12, 19.5e12, 79 * GIB, 2.0e12, 8, 300e9, 25e9),
)
GPUS = (*(gpu.name for gpu in _MADE), "cpu")
"""Names that ``--gpu`` takes."""


def find_gpu(name: str) -> Gpu:
    """
    Raises:
        ConfigError: nobody knows that name.
    """
    known = {gpu.name: gpu for gpu in _MADE} | {"cpu": _this_cpu()}
    if name not in known:
        begun = [gpu for gpu in GPUS if gpu.startswith(name)]
        hint = f" Did you mean '{begun[0]}'?" if name and begun else did_you_mean(name, GPUS)
        raise ConfigError(f"unknown GPU '{name}'.{hint}\n  known: {', '.join(GPUS)}")
    return known[name]


def gpu_named(driver_name: str) -> Gpu | None:
    """The GPU that a driver calls ``NVIDIA H100 80GB HBM3``; None if it is not among :data:`GPUS`.

    Cards for the PCIe bus have other figures than those of a server board.
    """
    words = set(re.split(r"[\s-]+", driver_name.lower()))
    if words & {"pcie", "nvl"}:
        return None
    return next((gpu for gpu in _MADE if words >= set(gpu.name.split("-"))), None)


def gpu_hours(gpus: int, duration_s: float) -> float:
    """What is paid for: 64 GPUs for four weeks are 43,008."""
    return gpus * duration_s / 3600
