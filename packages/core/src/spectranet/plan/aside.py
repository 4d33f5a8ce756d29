"""How do rehearsals run beside one another?"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
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
    if not sys.platform.startswith("linux"):
        return [task() for task in tasks]
    waiting = list(enumerate(tasks))
    results: dict[int, Result] = {}
    begun: dict[Connection, tuple[int, BaseProcess]] = {}
    try:
        while waiting or begun:
            while waiting and len(begun) < (os.cpu_count() or 1):
                number, task = waiting.pop(0)
                process, receiving = _begin(task)
                begun[receiving] = number, process
            for receiving in wait(list(begun)):
                number, process = begun[receiving]  # type: ignore[index]
                results[number] = _end(process, receiving)  # type: ignore[arg-type]
                process.join()
                del begun[receiving]  # type: ignore[arg-type]
    finally:
        for _, process in begun.values():
            process.kill()
            process.join()
    return [results[number] for number in range(len(tasks))]


def _begin(task: Callable[[], Result]) -> tuple[BaseProcess, Connection]:
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


def _end(process: BaseProcess, receiving: Connection) -> Result:
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
