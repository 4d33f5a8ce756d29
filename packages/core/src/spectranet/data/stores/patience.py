"""How long is a store waited for, and when is an address given up?

With the numbers of :data:`PATIENCE`, in one process:

- an attempt on a URL ends after 10 s (60 s for whole files), so a stalled connection is one that failed;
- four attempts, 0.1, 0.5 and 2 s apart, then the address is given up: at most 42.6 s are lost on it;
- for the next 60 s every use of it fails at once, with the same reason, and costs nothing;
- after that one attempt is made, without another. Where it fails too the address rests for 120 s, then
  for 240, up to 960 s; where it succeeds the address is used again as if nothing had been.

So a shard that stays dead costs 42.6 s and then at most 10 s in a minute, whatever the number of its
samples. Attempts on local files cannot be ended from inside: a read that hangs there (a dead NFS
server) is for a deadline outside, which can tell what hangs by :func:`in_use` and then
:func:`give_up` it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from spectranet.errors import DataError

__all__ = ["PATIENCE", "Patience", "give_up", "given_up", "in_use", "persist", "using"]

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """Seconds, all of them.

    Attributes:
        delays_s: waits between attempts; there is one attempt more than waits.
        attempt_s: what one attempt on a URL may take.
        whole_s: the same, where a whole file is read or written.
        listing_s: the same, where a folder is listed: a million objects are a thousand requests.
        rest_s: how long an address that was given up is left alone, doubled each time it fails again.
        longest_rest_s: where that doubling ends.
    """

    delays_s: tuple[float, ...] = (0.1, 0.5, 2.0)
    attempt_s: float = 10.0
    whole_s: float = 60.0
    listing_s: float = 600.0
    rest_s: float = 60.0
    longest_rest_s: float = 960.0


PATIENCE = Patience()
"""What this process has. Looked up at every use, so that tests can be in more of a hurry."""


@dataclass(frozen=True)
class _Resting:
    reason: str
    until: float
    """By ``time.monotonic()``."""
    rest_s: float


# One assignment or look-up at a time, which threads may do without a lock; and a lock that another
# thread held during a fork would stay locked in the child.
_resting: dict[str, _Resting] = {}
_in_use: dict[int, str] = {}


def give_up(address: str, reason: str) -> None:
    """Let every use of ``address`` fail at once for a while, saying ``reason``."""
    before = _resting.get(address)
    rest_s = min(2 * before.rest_s, PATIENCE.longest_rest_s) if before else PATIENCE.rest_s
    _resting[address] = _Resting(reason, time.monotonic() + rest_s, rest_s)


def given_up(address: str) -> str | None:
    """Why ``address`` is left alone at this moment, or None."""
    resting = _resting.get(address)
    return resting.reason if resting and time.monotonic() < resting.until else None


def in_use() -> dict[int, str]:
    """The address that each thread (by ``threading.get_ident()``) is waiting for at this moment."""
    return dict(_in_use)


def using(address: str, wait: Callable[[], T]) -> T:
    """What ``wait`` returns; meanwhile :func:`in_use` says that this thread waits for ``address``."""
    thread = threading.get_ident()
    _in_use[thread] = address
    try:
        return wait()
    finally:
        _in_use.pop(thread, None)


def persist(address: str, attempt: Callable[[], T]) -> T:
    """What ``attempt`` returns, tried again while it raises an ``OSError`` (but for missing rights).

    Raises:
        DataError: it failed every time, or ``address`` is given up; says how often and why.
    """
    before = _resting.get(address)
    if before:
        if reason := given_up(address):
            raise DataError(reason)
        # one attempt, by one thread: the others keep failing at once meanwhile
        _resting[address] = _Resting(before.reason, time.monotonic() + PATIENCE.attempt_s, before.rest_s)
    delays_s = [] if before else [*PATIENCE.delays_s]
    tries = 0
    while True:
        tries += 1
        try:
            result = using(address, attempt)
        except OSError as error:
            if delays_s and not isinstance(error, PermissionError):
                time.sleep(delays_s.pop(0))
                continue
            times = f"{tries} times" if tries > 1 else "once more" if before else "once"
            reason = f"'{address}' cannot be read (tried {times}): {_said(error)}"
            give_up(address, reason)
            raise DataError(reason) from error
        except DataError:  # it answers, though not what was hoped for
            _resting.pop(address, None)
            raise
        if before:
            _resting.pop(address, None)
        return result


def _said(error: OSError) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    if isinstance(error, FileNotFoundError):
        return "it does not exist (any more)"
    return error.strerror or str(error) or type(error).__name__
