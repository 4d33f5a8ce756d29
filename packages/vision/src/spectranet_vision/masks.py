"""Which patches does a pass hide? The number is exact, so samples of a batch have equal lengths."""

from __future__ import annotations

import numpy as np

from spectranet import Values

__all__ = ["random_patches", "random_tubes"]


def random_patches(values: Values, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """bool (N,): ``round(ratio * N)`` patches, uniformly at random."""
    return _choose(len(values.segment_N), ratio, rng)


def random_tubes(values: Values, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """bool (N,): ``round(ratio * cells)`` cells of the picture, hidden through all of time.

    Tubes, because a patch hidden in one frame can be read off the next (Tong et al. 2022,
    "VideoMAE", section 3.2); and every time segment keeps equally many visible tokens.
    """
    cells = int((values.segment_N == values.segment_N[0]).sum())
    return np.tile(_choose(cells, ratio, rng), len(values.segment_N) // cells)


def _choose(count: int, ratio: float, rng: np.random.Generator) -> np.ndarray:
    chosen = np.zeros(count, dtype=bool)
    chosen[rng.permutation(count)[: round(ratio * count)]] = True
    return chosen
