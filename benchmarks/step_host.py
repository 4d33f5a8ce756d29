"""What a run does around its steps: plugin host, journal, watch, signals, guards.

A real run of the preset ``tiny`` on a few pictures, from its own ``train()``. Timed out are the batches,
forward and backward, the optimizer, and clipping but for what ours takes longer than torch's: the rest is
the host's, with a record of every tenth step, which is the default, and of every step. None of it grows
with the model, so it is held against a step of 50 ms.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from interleaved import figure, measure

from spectranet.config import Resolved, load_config
from spectranet.train.objective_pass import ObjectivePass
from spectranet.train.run import Run, train
from spectranet.train.set_up import set_up

__all__ = ["price_host"]

_STEP_S = 0.05
_WARM_UP, _WINDOW = 10, 10
"""Steps; a window holds what one record costs, or more of them."""


def price_host(folder: Path, steps: int) -> None:
    data = _write_pictures(folder / "pictures")
    for log_every, suffix in ((10, ""), (1, "_logging_every_step")):
        each_s = host_s(resolved(data, folder / f"run-{log_every}", steps, log_every))
        figure(f"step.host_overhead_share{suffix}", each_s / _STEP_S, "of a step of 50 ms")


def host_s(config: Resolved) -> float:
    """CPU seconds around a step of a run."""
    run = set_up(config)
    sums = StopWatch()
    extra_s = _extra_of_clipping(run)
    windows = watch_run(run, sums)
    passes = ObjectivePass.__call__
    ObjectivePass.__call__ = sums.aside(passes)  # type: ignore[method-assign]
    try:
        train(run)
    finally:
        ObjectivePass.__call__ = passes  # type: ignore[method-assign]
    each = statistics.median(windows) + extra_s
    told = f"a record every {run.config.train.log_every} steps, median of {len(windows)} x {_WINDOW} steps"
    print(f"\nAround a step of a run: {each * 1e3:.3f} ms CPU ({told})")
    return each


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


def watch_run(run: Run, sums: StopWatch) -> list[float]:
    """CPU seconds a step of the host, of one window after another, filled as the run goes."""
    windows: list[float] = []
    stream, optimizer, norms = run.stream, run.optimizer, run.gradient_norms
    norms.clip = sums.aside(norms.clip)  # type: ignore[method-assign]
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
                    windows.append(host / _WINDOW)
                batch = sums.aside(next)(batches)
                if index % _WINDOW == 0:
                    began, before = time.process_time(), sums.seconds
                yield batch

    run.stream = Batches()  # type: ignore[assignment]
    return windows


def _extra_of_clipping(run: Run) -> float:
    """CPU seconds that our clipping, with its norms by part, takes longer than torch's."""
    parameters = run.gradient_norms.parameters
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    sides = {
        "ours": lambda: run.gradient_norms.clip(1.0),
        "torch's": lambda: torch.nn.utils.clip_grad_norm_(parameters, 1.0).item(),
    }
    timings = measure(sides, rounds=100, budget_s=3.0)
    run.optimizer.zero_grad()
    return timings["ours"].median - timings["torch's"].median


def resolved(data: Path, run_dir: Path, steps: int, log_every: int) -> Resolved:
    options = [
        f"data.sources.pictures.path={data}",
        "data.sources.pictures.modalities=[image,text]",
        "data.workers=0",
        f"run_dir={run_dir}",
        "tasks.retrieval=null",
        "train.device=cpu",
        "train.threads=1",
        "train.global_batch=8",
        "train.slots=1",
        f"train.steps={steps}",
        f"train.log_every={log_every}",
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
