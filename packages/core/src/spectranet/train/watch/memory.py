"""How much memory and disk has a run taken, and how much disk is left?"""

from __future__ import annotations

import math
import resource
import shutil
import sys
from pathlib import Path

import torch

__all__ = ["disk_free_gib", "memory_peak_gib"]

GIB = 2**30


def memory_peak_gib(device: torch.device) -> float:
    """The most that this rank's tensors took on its GPU; on a CPU, the most that its process took."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB


def disk_free_gib(directory: Path) -> float:
    """NaN where a file system has gone away: whoever writes to it will say so."""
    try:
        return shutil.disk_usage(directory).free / GIB
    except OSError:
        return math.nan
