"""How much memory a computation takes at its peak, on top of its inputs."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch

__all__ = ["Peak", "in_fresh_process"]


class Peak(NamedTuple):
    extra_mib: float
    cpu_s: float


def in_fresh_process(
    make: Callable[..., Callable[[], object]], small: Any, real: Any, threads: int = 1
) -> Peak:
    """The peak of what ``make(real)`` returns, above the resident memory before it is called.

    Resident memory of a process of its own: it holds all that was touched, also by libraries that do
    not allocate through torch, and nothing that an allocator kept from an earlier side. ``make(small)``
    runs before, so that kernels and thread pools are there. Both are CPU; Linux only.

    Args:
        make: a function of a module, given the size; returns the computation, its inputs ready.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as fresh:
        return fresh.submit(_measure, make, small, real, threads).result()


def _measure(make: Callable[..., Callable[[], object]], small: Any, real: Any, threads: int) -> Peak:
    torch.set_num_threads(threads)
    make(small)()
    run = make(real)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before, start = _status_kib("VmRSS"), time.process_time()
    run()
    cpu_s = time.process_time() - start
    return Peak((_status_kib("VmHWM") - before) / 1024, cpu_s)


def _status_kib(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, value = line.split(":", 1)
        if name == field:
            return int(value.split()[0])
    raise OSError(f"/proc/self/status has no {field}: this benchmark needs Linux")
