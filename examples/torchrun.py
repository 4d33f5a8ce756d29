"""torchrun for schedulers: it ends with the exit code of its ranks, and gives them time to save.

    python examples/torchrun.py …    # every option is torchrun's own

Two things that torchrun (torch 2.11 to 2.14) does are in a scheduler's way. It exits with 1 whatever the
code of the rank that failed, so nobody can tell "repeat me" (75) from a mistake in the configuration (2).
And after a SIGTERM it kills its ranks when 30 s are over, which is too short for a large checkpoint;
``--shutdown-timeout`` came after 2.11. Here SIGTERM, and SIGUSR1, which would end torchrun itself at once,
go on to the ranks, and torchrun waits for them as it always does. They save and exit with 75, all at once.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

RESUME_ME = 75


def main() -> int:
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    try:
        torchrun(["--signals-to-handle", "SIGINT,SIGHUP,SIGQUIT", *sys.argv[1:]])
    except SignalException as ended:  # Ctrl-C: the ranks have said what they have saved
        return 128 + ended.sigval
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        # Told to stop, some before they could listen: no failure to be shown as one.
        if first.exitcode in (RESUME_ME, -signal.SIGTERM, -signal.SIGUSR1):
            return RESUME_ME
        print(error, file=sys.stderr)
        return first.exitcode if first.exitcode > 0 else 128 - first.exitcode  # -9: killed by signal 9
    return 0


def pass_on(number: int, frame: FrameType | None) -> None:
    """Ask the ranks of this node to stop; they agree on it with those of the others."""
    ranks = children()
    if not ranks:
        os._exit(RESUME_ME)  # nothing has begun
    for rank in ranks:
        os.kill(rank, signal.SIGTERM)


def children() -> list[int]:
    """Process ids of those that this process has started, by any of its threads (Linux)."""
    return [int(child) for task in Path("/proc/self/task").iterdir() for child in _read(task / "children")]


def _read(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:  # a thread that has ended meanwhile
        return []


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, pass_on)
    sys.exit(main())
