"""How do ranks agree on a checkpoint, also before there is a process group?

The data workers are forked before the group is joined, and at the step that they start from, so the ranks
must know by then which checkpoint they go on from. They tell each other through the store that the group is
made with.
"""

from __future__ import annotations

import datetime
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import torch.distributed as dist

from spectranet.errors import ConfigError
from spectranet.train.distributed import meet

__all__ = ["Peers", "find_peers", "tell_cannot_start"]

T = TypeVar("T")

_HEARD_S = 5.0
_GIVEN_UP_S = 60.0
"""For how long a rank that cannot start waits for those that it tells; they are importing torch."""


class Peers:
    """This rank and the others; alone without a store. Every call is made by all ranks, in the same order."""

    def __init__(self, rank: int = 0, size: int = 1, store: dist.Store | None = None) -> None:
        self.rank = rank
        self.size = size
        self._store = store
        self._calls = 0

    def told_by_first(self, text: str) -> str:
        """The text of rank 0."""
        if self._store is None:
            return text
        key = self._next_key()
        if self.rank == 0:
            self._store.set(key, text)
        return self._store.get(key).decode()

    def all_tell(self, text: str) -> list[str]:
        """The texts of all ranks, in their order."""
        if self._store is None:
            return [text]
        key = self._next_key()
        self._store.set(f"{key}/{self.rank}", text)
        texts = []
        if self.rank == 0:  # one rank asks for all, and not all for all
            texts = [self._store.get(f"{key}/{rank}").decode() for rank in range(self.size)]
        told: list[str] = json.loads(self.told_by_first(json.dumps(texts)))
        return told

    def together(self, call: Callable[[], T]) -> T:
        """What ``call`` returns here, if it succeeds on all ranks.

        Raises:
            ConfigError: it has failed on another rank, which is told with its error. Without that this one
                would wait for the other to join the process group, for half an hour.
        """
        try:
            result = call()
        except Exception as error:
            self.all_tell(json.dumps(str(error)))
            self._leave_together()
            raise
        for rank, error_there in enumerate(map(json.loads, self.all_tell("null"))):
            if error_there is not None:
                self._leave_together()
                raise ConfigError(f"rank {rank} cannot start: {error_there}")
        return result

    def _leave_together(self) -> None:
        """Rank 0 may hold the store: it goes when all have heard what it says, or soon."""
        if self._store is None:
            return
        self._store.add("heard", 1)
        until_s = time.monotonic() + _HEARD_S
        while self.rank == 0 and self._store.add("heard", 0) < self.size and time.monotonic() < until_s:
            time.sleep(0.02)

    def _next_key(self) -> str:
        self._calls += 1
        return f"{self._calls}"


def find_peers(occasion: str = "start", timeout_s: float = 1800.0) -> Peers:
    """The ranks that ``torchrun``, or whoever sets its variables, has started.

    Args:
        occasion: each needs a name of its own, the same on all ranks; what was told stays in the store.
        timeout_s: how long to wait for a rank that does not come or does not answer.
    """
    if "RANK" not in os.environ:
        return Peers()
    store, rank, size = meet()
    if not dist.is_initialized():
        store.set_timeout(datetime.timedelta(seconds=timeout_s))
    return Peers(rank, size, dist.PrefixStore(f"spectranet/{occasion}", store)) if size > 1 else Peers()


def tell_cannot_start(error: Exception) -> None:
    """Tell ranks that may be about to train why this one is not: they wait for it in their first call."""

    def fail() -> None:
        raise error

    with suppress(Exception):  # nobody there, or for other reasons; what is wrong here is told anyhow
        find_peers(timeout_s=_GIVEN_UP_S).together(fail)
