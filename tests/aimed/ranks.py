"""Ranks as a launcher starts them, forked from a process that has imported torch and the core, but no plugin.

To be imported by tests; the ranks run ``spectranet train`` on the toy data of :func:`make_data`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import numpy as np
from free_port import free_port

__all__ = ["PRELOADED", "Ranks", "command", "losses", "make_data", "wait_for"]

HERE = Path(__file__).parent
PRELOADED = ["spectranet.cli.train", "spectranet.train.set_up", "torch.distributed.checkpoint", "ranks"]


def make_data(folder: Path) -> None:
    """A manifest of 16 samples, for training and for evaluation, and the plugin as a distribution."""
    random = np.random.default_rng(0)
    for number in range(16):
        values = random.standard_normal((6, 4), dtype=np.float32)
        (folder / f"{number}.left").write_bytes(values.tobytes())
    rows = [json.dumps({"key": str(number), "left": f"{number}.left"}) for number in range(16)]
    (folder / "toys.jsonl").write_text("\n".join(rows))
    info = folder / "aimed-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: aimed\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[spectranet.plugins.v1]\naimed = plugin\n")


def command(data: Path, run_dir: Path, *more: str) -> list[str]:
    """What follows ``spectranet``: six steps of four micro-batches on each of two ranks."""
    path = data / "toys.jsonl"
    return [
        *(
            "train",
            "--plugins",
            "aimed",
            "objective_plugins=[aimed]",
            "objectives.mmm={}",
            "tasks.look={}",
        ),
        *(f"data.sources.toys.path={path}", "data.sources.toys.modalities=[left]"),
        *(f"eval.sources.held.path={path}", "eval.sources.held.modalities=[left]", "eval.batch=4"),
        *("model.decoder.width=16", "model.decoder.layers=1", "model.decoder.heads=2"),
        *("model.decoder.mlp_hidden=16", "train.threads=1", "train.log_every=1", "train.device=cpu"),
        *("train.steps=6", "train.global_batch=8", "train.slots=4", "train.checkpoint.every=3"),
        *("train.optimizer.warmup_steps=1", "eval.every=2", f"run_dir={run_dir}", *more),
    ]


class Ranks:
    """Two ranks, without a launcher that would end one when the other does."""

    def __init__(
        self, data: Path, arguments: Sequence[str], told: Path, aim: str = "", ranks: int = 2
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self.told_in = told
        shared = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()),
            "WORLD_SIZE": str(ranks),
            "LOCAL_WORLD_SIZE": str(ranks),
            "AIM": aim,
        }
        self._processes = []
        for rank in range(ranks):
            environment = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            mine = (environment, list(arguments), str(data), str(told))
            self._processes.append(context.Process(target=rank_main, args=mine))
        for process in self._processes:
            process.start()

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            with suppress(ProcessLookupError):
                process.kill()
            process.join()

    @property
    def pids(self) -> list[int]:
        return [process.pid or 0 for process in self._processes]

    def send(self, number: signal.Signals, ranks: Sequence[int]) -> None:
        for rank in ranks:
            os.kill(self.pids[rank], number)

    def codes(self, limit_s: float = 120.0) -> list[int | None]:
        """Exit codes, when all have ended."""
        until_s = time.monotonic() + limit_s
        for process in self._processes:
            process.join(max(0.1, until_s - time.monotonic()))
        return [process.exitcode for process in self._processes]

    def told(self) -> str:
        return self.told_in.read_text(errors="replace")


def wait_for(paths: Sequence[Path], ranks: Ranks, limit_s: float = 120.0) -> None:
    until_s = time.monotonic() + limit_s
    while not all(path.exists() for path in paths):
        assert time.monotonic() < until_s, f"{paths}\n{ranks.told()}"
        assert all(process.exitcode is None for process in ranks._processes), ranks.told()
        time.sleep(0.01)


def losses(run_dir: Path) -> dict[int, float]:
    """Step -> loss, as the run's journal has it."""
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return {record["step"]: record["loss"] for record in records if "loss" in record}


def rank_main(environment: Mapping[str, str], arguments: list[str], data: str, told: str) -> NoReturn:
    """In a forked process: become a rank."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    os.environ.update(environment)
    os.environ.pop("TORCHELASTIC_RUN_ID", None)
    shared = HERE.parents[1] / "packages/core/tests/shared"
    sys.path[:0] = [data, str(HERE), str(shared)]
    output = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    from spectranet.cli import main

    main(arguments)
