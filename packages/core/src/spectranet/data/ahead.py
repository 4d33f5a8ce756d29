"""Who tells a sample set which of its parts will be wanted soon?"""

from __future__ import annotations

import threading
from typing import Any

from spectranet.contracts import SampleSet
from spectranet.data.order import Order

__all__ = ["Ahead"]


class Ahead:
    """Passes on the parts of a window and of the next one when the loading of a window begins.

    Once a window and process: every process that loads has its own, shared by its threads. A sample set
    without a method ``ahead`` is left alone.
    """

    def __init__(self, samples: SampleSet, order: Order) -> None:
        self._samples = samples
        self._order = order
        self._tell = getattr(samples, "ahead", None)
        self._told_until = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Ahead, (self._samples, self._order)

    def reach(self, ordinal: int) -> None:
        """Sample ``ordinal`` is about to be read. Costs nothing but at the start of a window."""
        if self._tell is None or ordinal < self._told_until:
            return
        with self._lock:
            if ordinal < self._told_until:  # another thread was first
                return
            self._told_until = self._order.window_end(ordinal)
        self._tell(self._order.parts_ahead(ordinal))
