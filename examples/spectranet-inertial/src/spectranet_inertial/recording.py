"""What a decoded recording is, and which numbers no sensor measures.

Shape suffixes: T steps, C the six channels: acceleration x, y, z in m/s², rotation rate x, y, z in rad/s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectranet import DecodeError

__all__ = [
    "CHANNELS",
    "LARGEST",
    "MOST_STEPS",
    "UNITS",
    "Recording",
    "check_steps",
    "decode",
]

CHANNELS = ("acc_x", "acc_y", "acc_z", "gyr_x", "gyr_y", "gyr_z")
UNITS = ("m/s²",) * 3 + ("rad/s",) * 3
MOST_STEPS = 2_000_000
"""Five hours at 100 Hz: 112 MB once decoded."""
LARGEST = (5_000.0,) * 3 + (200.0,) * 3
"""Per channel: 510 g and 11,000 degrees a second are beyond the sensors of phones, watches and crash
tests."""
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1.0, 20_000.0
LONGEST_GAP_S = 1.0
"""Across a longer one nobody knows how the sensor moved, so nothing is interpolated."""


@dataclass(frozen=True)
class Recording:
    """Six channels over time.

    Attributes:
        signal_TC: float32 (T, 6).
        time_T: float64 (T,) seconds since the first step, increasing; None: regular, at a rate that the file
            does not say.
    """

    signal_TC: np.ndarray
    time_T: np.ndarray | None

    def rate_hz(self, unsaid_hz: float) -> float:
        """Mean sampling rate, ``unsaid_hz`` where the file says none."""
        if self.time_T is None:
            return unsaid_hz
        return float((len(self.time_T) - 1) / (self.time_T[-1] - self.time_T[0]))


def decode(content: bytes) -> Recording:
    """A CSV or NPY file, told apart by its first bytes.

    Raises:
        DecodeError: it is broken, over a limit, or holds something else; says where.
    """
    from spectranet_inertial.csv_file import read_csv
    from spectranet_inertial.npy_file import MAGIC, read_npy

    if not content:
        raise DecodeError("the file is empty")
    return read_npy(content) if content.startswith(MAGIC) else read_csv(content)


def check_steps(time_T: np.ndarray | None, signal_TC: np.ndarray) -> tuple[int, str] | None:
    """The first step that no sensor gives, and what is wrong with it; None if all are well.

    Numbers must be finite and in the range of sensors, time must increase, without long gaps.
    """
    good_TC = np.abs(signal_TC) <= np.asarray(LARGEST)  # False for NaN too
    if not good_TC.all():
        step, channel = (int(index) for index in np.argwhere(~good_TC)[0])
        value = signal_TC[step, channel]
        reason = f"column '{CHANNELS[channel]}': {value:g} {UNITS[channel]} "
        if not np.isfinite(value):
            return step, f"column '{CHANNELS[channel]}': {value} is no measurement"
        return step, reason + f"is over the limit of {LARGEST[channel]:g}; is the unit right?"
    if time_T is None:
        return None
    if not np.isfinite(time_T).all():
        step = int(np.argmin(np.isfinite(time_T)))
        return step, f"column 'time': {time_T[step]} is no time"
    return _check_time(time_T)


def _check_time(time_T: np.ndarray) -> tuple[int, str] | None:
    apart_T = np.diff(time_T)
    if (apart_T <= 0).any():
        step = int(np.argmax(apart_T <= 0)) + 1
        return step, f"column 'time': {time_T[step]:.12g} s does not come after {time_T[step - 1]:.12g} s"
    if (apart_T > LONGEST_GAP_S).any():
        step = int(np.argmax(apart_T > LONGEST_GAP_S)) + 1
        gap = apart_T[step - 1]
        return step, (
            f"column 'time': a gap of {gap:.4g} s, over the limit of {LONGEST_GAP_S:g} s; "
            "cut the recording there, or is the unit of time right?"
        )
    if len(time_T) > 1 and (len(time_T) - 1) / (time_T[-1] - time_T[0]) > HIGHEST_RATE_HZ:
        rate = (len(time_T) - 1) / (time_T[-1] - time_T[0])
        return len(time_T) - 1, (
            f"column 'time': {rate:.4g} steps a second, over the limit of {HIGHEST_RATE_HZ:g}; "
            "is the unit of time right?"
        )
    return None
