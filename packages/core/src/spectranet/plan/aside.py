"""How do rehearsals run beside one another?"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import TypeVar

from spectranet.plan.simulate import PlanError

__all__ = ["side_by_side"]

Result = TypeVar("Result")


def side_by_side(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """The results of the tasks, in order, each computed in a fork of this process, one a core at a time.

    For a fork nothing of a plugin needs to pickle. Where forks are not safe with torch (all but Linux)
    the tasks run here, one after the other.

    Raises:
        Exception: whatever the first failing task raised.
        PlanError: a fork was killed, most likely for want of memory.
    """
    if not sys.platform.startswith("linux") or len(tasks) < 2:
        return [task() for task in tasks]
    at_once, results = os.cpu_count() or 1, []
    for first in range(0, len(tasks), at_once):
        begun = [_begin(task) for task in tasks[first : first + at_once]]
        try:
            results += [_end(process, receiving) for process, receiving in begun]
        finally:
            for process, _ in begun:
                process.kill()
                process.join()
    return results


def _begin(task: Callable[[], Result]) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(task, sending), daemon=True)
    process.start()
    sending.close()
    return process, receiving


def _work(task: Callable[[], Result], sending: Connection) -> None:
    try:
        sending.send((task(), None))
    except Exception as error:
        sending.send((None, error))
    sending.close()
    os._exit(0)  # what the parent had open is not this process's to tidy up


def _end(process: multiprocessing.process.BaseProcess, receiving: Connection) -> Result:
    try:
        result, error = receiving.recv()
    except EOFError:
        process.join()
        raise PlanError(
            f"a rehearsal was killed (signal {-(process.exitcode or 0)}), as the system does when memory "
            "runs out.\n  try a machine with 4 GiB free"
        ) from None
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]
