"""What a run does around its steps: plugin host, journal, watch, signals, guards.

A real run of the preset ``tiny`` on a few pictures, from its own ``train()``. Timed out are the batches,
forward and backward, the plain part of clipping, and the optimizer: the rest is the host's, records of
every tenth step included. None of it grows with the model, so it is held against a step of 50 ms.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from interleaved import figure

from spectranet.config import Resolved, load_config
from spectranet.train.objective_pass import ObjectivePass
from spectranet.train.run import Run, train
from spectranet.train.set_up import set_up

__all__ = ["price_host"]

_STEP_S = 0.05
_WARM_UP, _WINDOW = 10, 10
"""Steps; a window holds one step that is logged."""


def price_host(folder: Path, steps: int) -> None:
    run = set_up(resolved(folder, steps))
    sums = StopWatch()
    windows = watch_run(run, sums, _plain_clipping(run))
    passes = ObjectivePass.__call__
    ObjectivePass.__call__ = sums.aside(passes)  # type: ignore[method-assign]
    try:
        train(run)
    finally:
        ObjectivePass.__call__ = passes  # type: ignore[method-assign]
    each = statistics.median(windows)
    print(f"\nAround a step of a run: {each * 1e3:.3f} ms CPU (median of {len(windows)} x {_WINDOW} steps)")
    figure("step.host_overhead_share", each / _STEP_S, "of a step of 50 ms")


class StopWatch:
    """CPU seconds that are not the host's."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def aside(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return call(*args, **kwargs)
            finally:
                self.seconds += time.process_time() - start

        return timed


def watch_run(run: Run, sums: StopWatch, clipping_s: float) -> list[float]:
    """CPU seconds a step of the host, of one window after another, filled as the run goes."""
    windows: list[float] = []
    stream, optimizer = run.stream, run.optimizer
    optimizer.step = sums.aside(optimizer.step)  # type: ignore[method-assign]
    optimizer.zero_grad = sums.aside(optimizer.zero_grad)  # type: ignore[method-assign]

    class Batches:
        corpus, failures = stream.corpus, stream.failures

        def __iter__(self) -> Iterator[Any]:
            batches = iter(stream)
            began = before = 0.0
            for index in range(run.config.train.steps):
                if index >= _WARM_UP and index % _WINDOW == 0:
                    host = (time.process_time() - began) - (sums.seconds - before)
                    windows.append(host / _WINDOW - clipping_s)
                batch = sums.aside(next)(batches)
                if index % _WINDOW == 0:
                    began, before = time.process_time(), sums.seconds
                yield batch

    run.stream = Batches()  # type: ignore[assignment]
    return windows


def _plain_clipping(run: Run) -> float:
    """CPU seconds of torch's own clipping of this model, which any loop would pay."""
    plain = [torch.zeros_like(p).requires_grad_() for p in run.model.parameters()]
    for parameter in plain:
        parameter.grad = torch.ones_like(parameter)
    found = []
    for _ in range(20):
        start = time.process_time()
        torch.nn.utils.clip_grad_norm_(plain, 1.0)
        found.append(time.process_time() - start)
    return statistics.median(found)


def resolved(folder: Path, steps: int) -> Resolved:
    options = [
        f"data.sources.pictures.path={_write_pictures(folder / 'pictures')}",
        "data.sources.pictures.modalities=[image,text]",
        "data.workers=0",
        f"run_dir={folder / 'run'}",
        "tasks.retrieval=null",
        "train.device=cpu",
        "train.threads=1",
        "train.global_batch=8",
        "train.slots=1",
        f"train.steps={steps}",
    ]
    return load_config(["tiny"], options, training=True)


def _write_pictures(folder: Path) -> Path:
    """A folder of the modalities' own examples: key.png or the like, and key.txt."""
    folder.mkdir(parents=True)
    host = load_config(["tiny"]).host
    rng = np.random.default_rng(0)
    for key in range(64):
        for name in ("image", "text"):
            modality = host.modalities[name]
            (folder / f"{key:03d}.{modality.fields[0]}").write_bytes(modality.example(rng))
    return folder
