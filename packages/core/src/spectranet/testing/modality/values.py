"""What is wrong with the values that a transform gave?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from spectranet.contracts import Values

__all__ = ["flaws", "same_values"]


def flaws(values: Any, temporal: bool) -> Iterator[str]:
    """A sentence for each thing that is not as :class:`~spectranet.contracts.Values` says."""
    if not isinstance(values, Values):
        yield f"the transform gave {type(values).__name__}, not Values"
        return
    position_NP, segment_N = values.position_NP, values.segment_N
    for name, array, axes in (("position_NP", position_NP, 2), ("segment_N", segment_N, 1)):
        if not isinstance(array, np.ndarray) or array.dtype != np.int32 or array.ndim != axes:
            yield f"{name} is {_described(array)}, not int32 with {axes} axes"
            return
    if len(position_NP) != len(segment_N) or not position_NP.shape[1]:
        yield f"position_NP is {position_NP.shape} and segment_N {segment_N.shape}"
    yield from _flaws_of_time(segment_N, temporal)
    if not values.data:
        yield "data is empty"
    for name, array in values.data.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
            yield f"data['{name}'] is {_described(array)}, not an array of numbers"
        elif array.dtype.kind == "f" and not np.isfinite(array).all():
            yield f"data['{name}'] has {int((~np.isfinite(array)).sum())} numbers that are not finite"


def _flaws_of_time(segment_N: np.ndarray, temporal: bool) -> Iterator[str]:
    if not temporal and (segment_N != -1).any():
        yield f"temporal is False, but segment_N has {int(segment_N.max())} and not only -1"
    if temporal and (segment_N < 0).any():
        yield f"temporal is True, but segment_N is negative at {int((segment_N < 0).sum())} tokens"


def same_values(one: Values, other: Values) -> str:
    """Where two differ, empty where nowhere."""
    arrays, others = (
        {"position_NP": v.position_NP, "segment_N": v.segment_N, **v.data} for v in (one, other)
    )
    if arrays.keys() != others.keys():
        return f"data has {', '.join(arrays)} and then {', '.join(others)}"
    differing = [name for name in arrays if not _same(arrays[name], others[name])]
    return f"{', '.join(differing)} differ" if differing else ""


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other)


def _described(thing: Any) -> str:
    if isinstance(thing, np.ndarray):
        return f"{thing.dtype} {thing.shape}"
    return type(thing).__name__
