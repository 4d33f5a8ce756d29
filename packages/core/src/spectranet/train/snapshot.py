"""What a run writes of itself: its checkpoints, and the facts that describe it."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import spectranet
from spectranet.config import config_to_dict
from spectranet.model.build import count_parameters
from spectranet.plugins import PluginHost
from spectranet.train.journal.journal import Journal
from spectranet.train.stopping.stop import StopFlag

if TYPE_CHECKING:
    from spectranet.train.run import Run

__all__ = ["announcer", "describe_run", "save", "versions"]


def save(run: Run, done: int, last: bool = False) -> None:
    """Save the state after ``done`` steps: begun now, or, where nothing follows, waited for.

    Raises:
        CheckpointNotWritten: it is the last and cannot be written.
    """
    about = _what_trains(run) | {
        "plugin_digest": run.resolved.host.digest(),
        "topology": {"ranks": run.world.size},
        "samples": run.failure_limit.totals(),
    }
    (run.saver.save_last if last else run.saver.begin)(done, run.model, run.optimizer, about)


def announcer(stop: StopFlag, host: PluginHost, journal: Journal) -> Callable[[Path, int], None]:
    """A function that tells of each complete checkpoint who wants to know; plugins on rank 0."""
    listeners = host.callers("spectranet_checkpoint_saved")

    def announce(path: Path, step: int) -> None:
        stop.saved(step)
        journal.event("checkpoint", step, f"saved as {path.name}", tell=False)
        if not journal.active:
            return
        for name, call in listeners.items():
            try:
                call(path=str(path), step=step)
            except (Exception, SystemExit) as error:
                # The checkpoint is safe, whatever a listener makes of it.
                what = f"{type(error).__name__}: {error}"
                journal.say(f"warning: plugin '{name}' failed on the checkpoint of step {step}: {what}")

    return announce


def describe_run(run: Run) -> None:
    """Write ``run.json``, what the report's headline needs, and ``config.yaml``, which repeats the run."""
    parameters = count_parameters(run.model)
    facts = {"started": time.time(), "parameters": parameters, "ranks": run.world.size, **_what_trains(run)}
    texts = {"run.json": json.dumps(facts, indent=1), "config.yaml": run.resolved.to_yaml()}
    try:
        for name, text in texts.items():
            (run.directory / f"{name}.tmp").write_text(text)
            os.replace(run.directory / f"{name}.tmp", run.directory / name)
    except OSError as error:  # those of an earlier start stay whole
        run.journal.say(f"warning: {name} of the run cannot be written: {error.strerror}")
    total = sum(parameters.values())
    parts = ", ".join(f"{name} {count / 1e6:.2f}" for name, count in parameters.items())
    run.journal.say(f"{total / 1e6:.2f} M parameters: {parts}")


def _what_trains(run: Run) -> dict[str, Any]:
    """What a checkpoint and ``run.json`` both say."""
    return {
        "config": config_to_dict(run.config),
        "plugins": run.resolved.host.describe(),
        "sources": run.stream.corpus,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    return {
        "spectranet-core": spectranet.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
