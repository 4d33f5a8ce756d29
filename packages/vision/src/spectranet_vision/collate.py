"""From samples to a batch. Pictures and clips of one source have one size, so nothing is padded."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

__all__ = ["stack"]


def stack(samples: list[Mapping[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """Each array of the samples, stacked: (…) gives (B, …)."""
    return {name: torch.from_numpy(np.stack([sample[name] for sample in samples])) for name in samples[0]}
