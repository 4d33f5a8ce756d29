"""One life of a run: from its start on some ranks to its end, by itself or by a kill.

A :class:`ForkedLife` starts in a second rather than ten: its ranks are forked from a process that has
imported everything (multiprocessing's fork server). Else they are what torchrun starts: its environment, a
store that the launcher keeps, a session each; and what torchrun does when a rank dies is done here. A
:class:`TorchrunLife` is the real thing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import rank
from torch.distributed import TCPStore

__all__ = ["ForkedLife", "Life", "Steps", "TorchrunLife", "waits"]

GRACE_S = 10.0
"""For ranks that got SIGTERM since another is dead; torchrun's is 30."""
ENDLESS_S = 150.0
"""No life of a small run lasts so long, on whatever machine."""

Steps = dict[int, dict[int, str]]
"""Step -> number in the global batch -> source and key of the sample."""


def waits(for_what: str, limit_s: float = ENDLESS_S) -> Iterator[float]:
    """The seconds waited so far, again and again, for a loop that ends when it is content.

    Raises:
        TimeoutError: it was not, in time.
    """
    began_s = time.monotonic()
    while (waited_s := time.monotonic() - began_s) < limit_s:
        yield waited_s
        time.sleep(0.002)
    raise TimeoutError(f"{for_what}: not within {limit_s:g} s")


class Life:
    """What is common to lives.

    Args:
        folder: gets what the ranks print and which samples their steps take.
        number: of this life; file names begin with it.
        arguments: what follows ``spectranet``.
    """

    pids: list[int]
    """Of the ranks."""
    victims: Sequence[int] = ()
    """The ranks that were killed."""

    def __init__(self, folder: Path, number: int, ranks: int, arguments: Sequence[str]) -> None:
        self.folder = folder
        self.ranks = ranks
        self.told_in = folder / f"{number:03}-told"
        self.taken_in = folder / f"{number:03}"
        self.born_ns = time.time_ns()
        self.pids = self._start(arguments)
        self._handles = [os.pidfd_open(pid) for pid in self.pids]  # a number may be given to another process

    def __enter__(self) -> Life:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill what is left."""
        self.send(signal.SIGKILL, range(len(self.pids)))
        for pid in self.survivors():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for handle in self._handles:
            os.close(handle)

    def _start(self, arguments: Sequence[str]) -> list[int]:
        """Start the ranks; returns their process ids."""
        raise NotImplementedError

    def is_over(self) -> bool:
        """Whether a rank has ended."""
        raise NotImplementedError

    def end(self) -> list[int]:
        """Wait for the end of all ranks, as a launcher does; returns exit codes."""
        raise NotImplementedError

    def send(self, number: signal.Signals, ranks: Sequence[int]) -> None:
        for each in ranks:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handles[each], number)

    def steps_begun(self) -> int:
        """By rank 0."""
        with suppress(FileNotFoundError):
            return self._taken(0).read_bytes().count(b"\n")
        return 0

    def steps(self) -> Steps:
        """The steps that this life has begun, on any rank."""
        steps: Steps = {}
        for number in range(self.ranks):
            path = self._taken(number)
            for line in path.read_text().splitlines() if path.exists() else []:
                entry = json.loads(line)
                samples = steps.setdefault(entry["step"], {})
                mine = {int(key): sample for key, sample in entry["samples"].items()}
                assert not samples.keys() & mine.keys(), f"two ranks take a sample of step {entry['step']}"
                samples |= mine
        return steps

    def told(self) -> str:
        return self.told_in.read_text(errors="replace") if self.told_in.exists() else ""

    def survivors(self) -> list[int]:
        """Processes of its ranks' sessions: data workers that outlive them."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
                if int(session) in self.pids and state not in "ZX":
                    found.append(int(stat.parent.name))
        return found

    def _taken(self, number: int) -> Path:
        return self.taken_in.with_name(f"{self.taken_in.name}-rank-{number}.jsonl")


class ForkedLife(Life):
    """On ranks that are forked from a process which has imported all they need."""

    def _start(self, arguments: Sequence[str]) -> list[int]:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([*rank.PRELOADED])
        self._store = TCPStore(
            "127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(0, 60)
        )
        shared = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self._store.port),
            "TORCHELASTIC_RUN_ID": "storm",
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "WORLD_SIZE": str(self.ranks),
            "LOCAL_WORLD_SIZE": str(self.ranks),
            "OMP_NUM_THREADS": "1",
        }
        self._processes = []
        for number in range(self.ranks):
            environment = shared | {"RANK": str(number), "LOCAL_RANK": str(number)}
            mine = (environment, list(arguments), self.told_in, self.taken_in)
            self._processes.append(context.Process(target=rank.forked_rank, args=mine))
        for process in self._processes:
            process.start()
        return [process.pid or 0 for process in self._processes]

    def is_over(self) -> bool:
        return any(process.exitcode is not None for process in self._processes)

    def end(self) -> list[int]:
        for _ in waits("the end of a life"):
            codes = [process.exitcode for process in self._processes]
            if any(codes) or None not in codes:
                break
        for number in (signal.SIGTERM, signal.SIGKILL):
            if None in codes:
                self.send(number, [i for i, code in enumerate(codes) if code is None])
                for waited_s in waits("the end of the other ranks"):
                    codes = [process.exitcode for process in self._processes]
                    if None not in codes or waited_s > GRACE_S:
                        break
        return [process.exitcode or 0 for process in self._processes]


class TorchrunLife(Life):
    """On ranks that torchrun starts, watches and ends."""

    def _start(self, arguments: Sequence[str]) -> list[int]:
        head = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        command = [*head, str(self.ranks), rank.__file__, str(self.taken_in), *arguments]
        with self.told_in.open("w") as told:
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            self._launcher = subprocess.Popen(command, stdout=told, stderr=told, env=environment)
        children = Path(f"/proc/{self._launcher.pid}/task/{self._launcher.pid}/children")
        for _ in waits("torchrun's ranks"):
            by_rank = {_rank_of(pid): int(pid) for pid in children.read_text().split()}
            if by_rank.keys() >= set(range(self.ranks)):
                break
        return [by_rank[number] for number in range(self.ranks)]

    def is_over(self) -> bool:
        return self._launcher.poll() is not None

    def end(self) -> list[int]:
        return [self._launcher.wait(ENDLESS_S)]

    def __exit__(self, *_: object) -> None:
        self._launcher.kill()
        self._launcher.wait()
        super().__exit__()


def _rank_of(pid: str) -> int | None:
    """Of a child of torchrun; None for those that are no ranks, or not yet."""
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if entry.startswith(b"RANK="):
                return int(entry.removeprefix(b"RANK="))
    return None
