"""Which column is which channel, and in which unit? For the header of a CSV and the fields of an NPY.

Names may stand in any order and case; common spellings are known. A unit stands in brackets or after the
name: ``acc_x [g]``, ``gyro x (deg/s)``, ``time_ms``. Without one it is SI: s, m/s², rad/s.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from spectranet import DecodeError
from spectranet_inertial.recording import CHANNELS

__all__ = ["STANDARD_GRAVITY", "Columns", "find_columns"]

STANDARD_GRAVITY = 9.80665
"""m/s², by definition (CGPM 1901)."""

_TIME = {"time", "t", "timestamp", "seconds", "elapsed"}
_SENSOR = {
    **dict.fromkeys(("acc", "accel", "accelerometer", "acceleration", "a"), "acc"),
    **dict.fromkeys(("gyr", "gyro", "gyroscope", "rotation", "angular_velocity", "g", "w"), "gyr"),
}
_UNITS: dict[str, dict[str, float]] = {
    "time": {"s": 1.0, "sec": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9},
    "acc": {
        **dict.fromkeys(("m/s2", "m/s^2", "m/s²", "ms2", "mps2"), 1.0),
        "g": STANDARD_GRAVITY,
        "mg": STANDARD_GRAVITY / 1000,
    },
    "gyr": {
        **dict.fromkeys(("rad/s", "rads", "rps"), 1.0),
        **dict.fromkeys(("deg/s", "°/s", "dps", "degs"), math.pi / 180),
    },
}


@dataclass(frozen=True)
class Columns:
    """Where each channel stands, and what its numbers are multiplied by.

    Attributes:
        place_C: index of the column of each of the six channels.
        factor_C: to m/s² and rad/s.
        time: index of the column of time; None where there is none.
        time_factor: to seconds.
    """

    place_C: tuple[int, ...]
    factor_C: tuple[float, ...]
    time: int | None
    time_factor: float


def find_columns(names: Sequence[str], time_needed: bool) -> Columns:
    """Read a header.

    Raises:
        DecodeError: a column is missing or there twice, or has a unit that is not known.
    """
    found: dict[str, tuple[int, float]] = {}
    for place, name in enumerate(names):
        channel, unit = _channel(name)
        if not channel:
            continue
        if channel in found:
            raise DecodeError(f"columns {found[channel][0] + 1} and {place + 1} are both '{channel}'")
        found[channel] = place, _factor(channel, unit, name, place)
    needed = (("time",) if time_needed else ()) + CHANNELS
    if missing := [channel for channel in needed if channel not in found]:
        there = ", ".join(f"'{name}'" for name in names[:20])
        raise DecodeError(f"no column '{', '.join(missing)}'; the header has {there[:300]}")
    time, time_factor = found.get("time", (None, 1.0))
    return Columns(
        place_C=tuple(found[channel][0] for channel in CHANNELS),
        factor_C=tuple(found[channel][1] for channel in CHANNELS),
        time=time,
        time_factor=time_factor,
    )


def _channel(name: str) -> tuple[str, str]:
    """``("acc_x", "g")`` of ``Accel X [g]``; the first is empty for what is none of ours."""
    bracket = re.fullmatch(r"([^\[(]+)[\[(]([^\])]*)[\])]\s*", name.strip().lower())
    bare, unit = bracket.groups() if bracket else (name.strip().lower(), "")
    words = re.sub(r"[\s.\-]+", "_", bare.strip())
    if channel := _plain(words):
        return channel, unit.strip()
    head, _, tail = words.rpartition("_")
    if not unit and (channel := _plain(head)) and tail in _UNITS[_kind(channel)]:
        return channel, tail
    return "", ""


def _plain(words: str) -> str:
    if words in _TIME:
        return "time"
    sensor, axis = words[:-1].rstrip("_"), words[-1:]
    return f"{_SENSOR[sensor]}_{axis}" if sensor in _SENSOR and axis in ("x", "y", "z") else ""


def _kind(channel: str) -> str:
    return channel.partition("_")[0]


def _factor(channel: str, unit: str, name: str, place: int) -> float:
    known = _UNITS[_kind(channel)]
    if unit and unit not in known:
        raise DecodeError(
            f"column {place + 1} '{name.strip()}': unknown unit '{unit}'; known: {', '.join(known)}"
        )
    return known.get(unit, 1.0)
