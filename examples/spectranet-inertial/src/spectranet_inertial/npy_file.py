"""A recording from NPY: an array (T, 6) of floats, or a structured one with the columns that a CSV has.

The array is checked by its header before anything is allocated, and nothing is unpickled.
"""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.lib import format as npy

from spectranet import DecodeError
from spectranet_inertial.columns import find_columns
from spectranet_inertial.recording import CHANNELS, MOST_STEPS, Recording, check_steps

__all__ = ["MAGIC", "read_npy"]

MAGIC = b"\x93NUMPY"
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npy(content: bytes) -> Recording:
    """Decode an NPY file: float (T, 6) in m/s² and rad/s, without time, or structured (T,).

    Raises:
        DecodeError: another shape or type, cut short, or over a limit.
    """
    array, structured = _array(content)
    time_T: np.ndarray | None = None
    if structured:
        names = array.dtype.names or ()
        columns = find_columns(names, time_needed=False)
        signal_TC = np.stack([array[names[place]] for place in columns.place_C], axis=1).astype(np.float64)
        signal_TC *= np.asarray(columns.factor_C)
        if columns.time is not None:
            time_T = array[names[columns.time]].astype(np.float64) * columns.time_factor
    else:
        signal_TC = array.astype(np.float64)
    if fault := check_steps(time_T, signal_TC):
        step, reason = fault
        raise DecodeError(f"step {step}, {reason}")
    return Recording(signal_TC.astype(np.float32), None if time_T is None else time_T - time_T[0])


def _array(content: bytes) -> tuple[np.ndarray, bool]:
    """A view of the bytes, of the shape that the header says, and whether it has named fields."""
    file = io.BytesIO(content)
    try:
        version = npy.read_magic(file)
        if version not in _HEADERS:
            raise DecodeError(f"NPY version {version[0]}.{version[1]} is not read; save names in ASCII")
        shape, fortran, dtype = _HEADERS[version](file)
    except DecodeError:
        raise
    except Exception as error:  # numpy evaluates the header's text, and lets out what that raises
        raise DecodeError(f"the NPY header is broken: {type(error).__name__}: {error}") from error
    structured = dtype.names is not None
    _check_kind(shape, dtype)
    promised, there = math.prod(shape) * dtype.itemsize, len(content) - file.tell()
    if there != promised:
        raise DecodeError(
            f"the NPY header promises {promised:,} bytes of {dtype} {shape}, the file has {there:,}"
        )
    array = np.frombuffer(content, dtype, count=math.prod(shape), offset=file.tell())
    return array.reshape(shape, order="F" if fortran else "C"), structured


def _check_kind(shape: tuple[int, ...], dtype: np.dtype) -> None:
    kinds = [dtype[name] for name in dtype.names] if dtype.names else [dtype]
    if any(kind.kind not in "fiu" or kind.shape for kind in kinds) or dtype.hasobject:
        raise DecodeError(f"an array of {dtype}; inertial data are numbers")
    if dtype.names:
        if len(shape) != 1:
            raise DecodeError(f"a structured array of shape {shape}; it must be (steps,)")
    elif dtype.kind != "f":
        raise DecodeError(f"an array of {dtype}; write floats in m/s² and rad/s, raw counts have no unit")
    elif len(shape) != 2 or shape[1] != len(CHANNELS):
        hint = "; transpose it" if len(shape) == 2 and shape[0] == len(CHANNELS) else ""
        raise DecodeError(f"an array of shape {shape}; it must be (steps, 6): {', '.join(CHANNELS)}{hint}")
    if shape[0] > MOST_STEPS:
        raise DecodeError(f"{shape[0]:,} steps are over the limit of {MOST_STEPS:,}")
    if shape[0] < 2:
        raise DecodeError(f"an array of {shape[0]} steps; there must be two")
