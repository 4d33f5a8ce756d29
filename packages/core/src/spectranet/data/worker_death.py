"""What is told when a worker process dies? Which data it was to prepare, what ended it, and what to do."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import active_children
from multiprocessing.process import BaseProcess

from spectranet.data.pipeline import Pipeline
from spectranet.data.schedule import Address
from spectranet.errors import DataError

__all__ = ["death", "processes_started"]

_MOST_KEYS = 100
_LIKELY = {
    "SIGKILL": "most likely the machine, or the job's share of it, was out of memory: lower data.workers, "
    "data.threads or data.prefetch",
    "SIGBUS": "most likely shared memory was full (df /dev/shm; of a container: --shm-size): enlarge it, or "
    "lower data.workers or data.prefetch",
}
_CRASH = "most likely a decoder crashed on one of these samples"


@contextmanager
def processes_started() -> Iterator[list[BaseProcess]]:
    """A list that holds, after the block, the processes which were started in it.

    The handler of SIGCHLD that a DataLoader installs goes again. It would make the end of a worker an
    exception in whatever line the trainer is at; without it the DataLoader notices when a batch is waited
    for, after five seconds at most.
    """
    before = active_children()
    handler = signal.getsignal(signal.SIGCHLD)
    started: list[BaseProcess] = []
    try:
        yield started
    finally:
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGCHLD, handler)
        started += [process for process in active_children() if process not in before]


def death(processes: Sequence[BaseProcess], pipeline: Pipeline, address: Address) -> DataError | None:
    """What to raise where the micro-batch at ``address`` does not come; None where no process has died."""
    ends = {process.pid: process.exitcode for process in processes if process.exitcode is not None}
    if not ends:
        return None
    pid, code = next(iter(ends.items()))
    name = signal.Signals(-code).name if code < 0 else ""
    end = f"was ended by {name}" if name else f"ended by itself with exit code {code}"
    source = pipeline.source
    keys = [source.key(pipeline.order.row(ordinal)) for ordinal in address.ordinals]
    more = f" and {len(keys) - _MOST_KEYS} more" if len(keys) > _MOST_KEYS else ""
    return DataError(
        f"source '{source.name}': worker process {pid} {end}, at the micro-batch of step {address.step} that "
        f"is waited for or a little ahead of it\n"
        f"  samples of that micro-batch: {', '.join(keys[:_MOST_KEYS])}{more}\n"
        f"  {_LIKELY.get(name, _CRASH)}\n"
        "  to see it happen, with the line:  PYTHONFAULTHANDLER=1 and data.workers=0 data.threads=1"
    )
