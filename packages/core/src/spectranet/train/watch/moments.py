"""When did what begin on the device? A clock that never makes a step wait.

On a GPU the moments are events in its stream, read once the step has been waited for anyway.
"""

from __future__ import annotations

import time
from collections import defaultdict
from itertools import pairwise

import torch

__all__ = ["Moments"]


class Moments:
    """Adds up how long a step is at what; a label holds until the next."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._marks: list[tuple[str, float | torch.cuda.Event]] = []
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def mark(self, label: str) -> None:
        """``label`` begins; the empty one ends the step."""
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append((label, event))
        else:
            self._marks.append((label, time.perf_counter()))

    def settle(self) -> None:
        """Turn marks into seconds; on a GPU the last must lie behind it."""
        for (label, begin), (_, end) in pairwise(self._marks):
            if label:
                if isinstance(begin, float) and isinstance(end, float):
                    self._seconds[label] += end - begin
                else:
                    self._seconds[label] += begin.elapsed_time(end) / 1e3  # type: ignore[union-attr]
        self._marks.clear()

    def seconds(self) -> dict[str, float]:
        """By label, since the last call."""
        found, self._seconds = dict(self._seconds), defaultdict(float)
        return found
