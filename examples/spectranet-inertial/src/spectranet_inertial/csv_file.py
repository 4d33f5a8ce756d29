"""A recording from CSV: a header with the time and the six channels, then a line a step.

Columns are separated by comma, semicolon or tab, whichever the header has. numpy's reader parses the
numbers; only where it finds fault the file is read again, slowly, to say which line and column it was.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import numpy as np

from spectranet import DecodeError
from spectranet_inertial.columns import Columns, find_columns
from spectranet_inertial.recording import CHANNELS, MOST_STEPS, Recording, check_steps

__all__ = ["read_csv"]

_SEPARATORS = (",", ";", "\t")
_LONGEST_HEADER = 4096
_SHOWN = 40


def read_csv(content: bytes) -> Recording:
    """Decode a CSV file.

    Raises:
        DecodeError: no text, no header, a line that cannot be read; says line and column.
    """
    if (lines := content.count(b"\n")) > MOST_STEPS + 1:
        raise DecodeError(f"{lines:,} lines are over the limit of {MOST_STEPS:,}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DecodeError(f"line {line}: neither an NPY file nor UTF-8 text") from error
    header = text.partition("\n")[0].rstrip("\r")
    if len(header) > _LONGEST_HEADER:
        raise DecodeError(f"line 1: a header of {len(header):,} characters; is this a CSV file?")
    separator = next((each for each in _SEPARATORS if each in header), ",")
    try:
        columns = find_columns(next(csv.reader([header], delimiter=separator), []), time_needed=True)
    except (DecodeError, csv.Error) as error:
        raise DecodeError(f"line 1: {error}") from error
    time_T, signal_TC = _numbers(text, separator, columns)
    if fault := check_steps(time_T, signal_TC):
        step, reason = fault
        raise DecodeError(f"line {_line_of(text, separator, step)}, {reason}")
    return Recording(signal_TC.astype(np.float32), time_T - time_T[0])


def _numbers(text: str, separator: str, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Time in s, float64 (T,), and the channels in SI units, float64 (T, 6)."""
    assert columns.time is not None
    places = (columns.time, *columns.place_C)
    rest = io.StringIO(text)
    rest.readline()
    try:
        table = np.loadtxt(
            rest, delimiter=separator, usecols=places, comments=None, quotechar='"', ndmin=2, dtype=np.float64
        )
    except (ValueError, OverflowError) as error:
        raise DecodeError(_first_fault(text, separator, places) or str(error)) from error
    if len(table) < 2:
        raise DecodeError(f"it has {len(table)} lines of numbers; a sampling rate needs two")
    return table[:, 0] * columns.time_factor, table[:, 1:] * np.asarray(columns.factor_C)


def _rows(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every line that is not empty, below the header."""
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    next(reader, None)
    for cells in reader:
        if cells:
            yield reader.line_num, cells


def _line_of(text: str, separator: str, step: int) -> int:
    return next(line for number, (line, _) in enumerate(_rows(text, separator)) if number == step)


def _first_fault(text: str, separator: str, places: tuple[int, ...]) -> str:
    """Where the first cell stands that is no number; empty if every one is."""
    try:
        for line, cells in _rows(text, separator):
            for name, place in zip(("time", *CHANNELS), places, strict=True):
                if place >= len(cells):
                    return f"line {line}: it has {len(cells)} columns, and '{name}' is column {place + 1}"
                try:
                    float(cells[place])
                except ValueError:
                    return f"line {line}, column '{name}': '{cells[place].strip()[:_SHOWN]}' is no number"
    except csv.Error as error:
        return str(error)
    return ""
