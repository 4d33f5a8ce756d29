"""How far a batch of unit vectors is spread out: the measure of collapse.

Shape suffixes: R rows, E width.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["spread"]

_BLOCK = 1024
_EPS = 1e-4
"""Inside the root, so that its slope stays finite at zero variance (Bardes et al. 2022, VICReg)."""


def spread(vectors_RE: Tensor) -> Tensor:
    """Standard deviation of each dimension over the rows, times sqrt(E): (E,).

    For vectors of length one its root mean square is about 1 at most, reached where they fill the
    sphere evenly around zero; it is 0.01, the guard inside the root, where all vectors are the same.
    """
    rows, width = vectors_RE.shape
    mean_E, sum_E = vectors_RE.mean(0), vectors_RE.new_zeros(width)
    for some_RE in vectors_RE.split(_BLOCK):  # so that no tensor is made as large as the rows
        sum_E = sum_E + (some_RE - mean_E).square().sum(0)
    return (width * sum_E / max(1, rows - 1) + _EPS).sqrt()
