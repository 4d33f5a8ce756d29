"""How far a batch of unit vectors is spread out: the measure of collapse.

Shape suffixes: R rows, E width.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["spread"]

_EPS = 1e-4
"""Inside the root, so that its slope stays finite at zero variance (Bardes et al. 2022, VICReg)."""


def spread(vectors_RE: Tensor) -> Tensor:
    """Standard deviation of each dimension over the rows, times sqrt(E): (E,).

    For vectors of length one its root mean square is about 1 at most, reached where they fill the
    sphere evenly around zero; it is 0.01, the guard inside the root, where all vectors are the same.
    """
    rows, width = vectors_RE.shape
    variance_E = vectors_RE.var(0, correction=min(1, rows - 1))  # makes no tensor as large as the rows
    return (width * variance_E + _EPS).sqrt()
