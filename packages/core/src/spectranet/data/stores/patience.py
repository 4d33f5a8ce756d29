"""How long is a store waited for, and when is an address given up?

With the numbers of :data:`PATIENCE`, in one process:

- an attempt on a URL ends after 10 s (20 s for whole files), so a stalled connection is one that failed;
- attempts that fail are made again after 0.1, 0.5, 2, 4, 8 and 16 s, the last of them at most 35 s after
  the first. So a store that refuses at once is asked seven times in 31 s, which outlasts a restart of it;
  one that does not answer four times in 43 s. Neither takes as long as ``data.stall_s``, 60 s; who sets
  that lower, by :func:`end_by`, has fewer attempts;
- then the address is given up: for a second every use of it fails at once, and costs nothing;
- after that one attempt is made, without another. Where it fails too the address rests for 2 s, then
  for 4, up to 300 s; where it succeeds the address is used again as if nothing had been.

So a shard that stays dead costs a thread 43 s (55 s if it is its index that does not come), and then nine
attempts of at most 10 s in the next ten minutes, whatever the number of its samples. Attempts on local
files cannot be ended from inside: a read that hangs there (a dead NFS server) is for a deadline outside,
which can tell what hangs by :func:`in_use` and then :func:`give_up` it, for a minute first.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from spectranet.errors import DataError

__all__ = ["PATIENCE", "Patience", "end_by", "give_up", "given_up", "in_use", "persist", "using"]

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """Seconds, all of them.

    Attributes:
        delays_s: waits between attempts; there is one attempt more than waits.
        begin_s: no attempt begins so long after the first.
        attempt_s: what one attempt on a URL may take.
        whole_s: the same, where a whole file is read.
        write_s: the same, where one is written.
        listing_s: the same, where a folder is listed: a million objects are a thousand requests.
        rest_s: how long an address that was given up is left alone, doubled each time it fails again.
        hung_rest_s: the same where it hung, which costs far more than a failure.
        longest_rest_s: where that doubling ends.
    """

    delays_s: tuple[float, ...] = (0.1, 0.5, 2.0, 4.0, 8.0, 16.0)
    begin_s: float = 35.0
    attempt_s: float = 10.0
    whole_s: float = 20.0
    write_s: float = 60.0
    listing_s: float = 600.0
    rest_s: float = 1.0
    hung_rest_s: float = 60.0
    longest_rest_s: float = 300.0


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
_of_thread = threading.local()


def give_up(address: str, reason: str) -> None:
    """Let every use of ``address``, which hangs, fail at once for a while, saying ``reason``."""
    _rest(address, reason, PATIENCE.hung_rest_s)


def _rest(address: str, reason: str, first_s: float) -> None:
    before = _resting.get(address)
    rest_s = min(max(2 * before.rest_s, first_s), PATIENCE.longest_rest_s) if before else first_s
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


def end_by(time_s: float) -> None:
    """Let this thread, from now on, begin no attempt that would end after ``time_s`` (monotonic).

    What fails is then said to fail, with its reason, rather than found to take too long.
    """
    _of_thread.end_s = time_s


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
    first_s = time.monotonic()
    tries = 0
    while True:
        tries += 1
        began_s = time.monotonic()
        try:
            result = using(address, attempt)
        except OSError as error:
            final = before is not None or isinstance(error, PermissionError)
            if not final and (delay_s := _delay(tries, first_s, began_s)) is not None:
                time.sleep(delay_s)
                continue
            times = f"{tries} times" if tries > 1 else "once more" if before else "once"
            reason = f"'{address}' cannot be read (tried {times}): {_said(error)}"
            _rest(address, reason, PATIENCE.rest_s)
            raise DataError(reason) from error
        except DataError:  # it answers, though not what was hoped for
            _resting.pop(address, None)
            raise
        if before:
            _resting.pop(address, None)
        return result


def _delay(tries: int, first_s: float, began_s: float) -> float | None:
    """How long to wait before the next attempt, or None where there is to be none.

    Args:
        first_s: when the first attempt began.
        began_s: when the last one did; the next may take as long.
    """
    if tries > len(PATIENCE.delays_s):
        return None
    now_s, delay_s = time.monotonic(), PATIENCE.delays_s[tries - 1]
    begin_s = now_s + delay_s
    in_time = begin_s <= first_s + PATIENCE.begin_s
    return delay_s if in_time and begin_s + now_s - began_s < getattr(_of_thread, "end_s", math.inf) else None


def _said(error: OSError) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    if isinstance(error, FileNotFoundError):
        return "it does not exist (any more)"
    return error.strerror or str(error) or type(error).__name__
