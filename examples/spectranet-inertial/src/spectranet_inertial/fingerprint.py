"""A 64-bit hash of a recording that survives sensor noise and resampling.

The course of the six channels is brought to 32 means over time, whatever the length, and stands beside the
direction of gravity; the bits say on which side of 64 fixed random hyperplanes it lies (Charikar 2002), so
the share of differing bits is the angle between two recordings. Version 1: a change of anything here
changes stored hashes.

Shape suffixes: T steps, C channels.
"""

from __future__ import annotations

import functools

import numpy as np

from spectranet_inertial.recording import CHANNELS, Recording
from spectranet_inertial.signal import SCALE_C

__all__ = ["fingerprint"]

_BINS = 32
_FLOOR = 0.05
"""Movement weaker than this (in g, and in 2 rad/s) counts the less the weaker it is: noise has no course."""


def fingerprint(raw: Recording) -> int:
    """64-bit hash; near duplicates differ in few bits."""
    signal_TC = raw.signal_TC.astype(np.float64) / SCALE_C
    mean_C = signal_TC.mean(axis=0)
    moved_TC = signal_TC - mean_C
    edges = np.linspace(0, len(moved_TC), _BINS + 1)
    total_TC = np.concatenate([np.zeros((1, len(CHANNELS))), moved_TC.cumsum(axis=0)])
    steps = np.arange(len(total_TC))
    at_edges = np.stack([np.interp(edges, steps, channel) for channel in total_TC.T], axis=1)
    course = np.diff(at_edges, axis=0) / (len(moved_TC) / _BINS)
    course /= np.sqrt(np.square(course).mean()) + _FLOOR
    posture = np.tile(mean_C, (_BINS // 4, 1))
    bits = _hyperplanes() @ np.concatenate([course, posture]).ravel() > 0
    return sum(1 << place for place, bit in enumerate(bits) if bit)


@functools.cache
def _hyperplanes() -> np.ndarray:
    """(64, numbers of a picture), the same for ever: numpy froze the streams of ``RandomState``."""
    return np.random.RandomState(1).standard_normal((64, (_BINS + _BINS // 4) * len(CHANNELS)))
