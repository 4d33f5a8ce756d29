"""What a run writes of itself: its checkpoints, and the facts that describe it."""

from __future__ import annotations

import json
import platform
import time
from typing import TYPE_CHECKING

import torch

import spectranet
from spectranet.config import config_to_dict
from spectranet.model.build import count_parameters
from spectranet.train.checkpoint import save_checkpoint

if TYPE_CHECKING:
    from spectranet.train.run import Run

__all__ = ["describe_run", "save", "versions"]


def save(run: Run, done: int) -> None:
    about = {
        "config": config_to_dict(run.config),
        "plugins": run.resolved.host.describe(),
        "plugin_digest": run.resolved.host.digest(),
        "sources": run.stream.corpus,
        "topology": {"ranks": run.world.size},
        "versions": versions(),
        "samples": run.failure_limit.totals(),
    }
    path = save_checkpoint(
        run.directory / "checkpoints",
        done,
        run.model,
        run.optimizer,
        about,
        run.world,
        run.config.train.checkpoint.keep_last,
    )
    run.stop.saved(done)
    if run.world.is_main:
        try:
            run.resolved.host.hook.spectranet_checkpoint_saved(path=str(path), step=done)
        except Exception as error:  # the checkpoint is safe, whatever a listener makes of it
            run.journal.say(f"warning: a plugin failed on a saved checkpoint: {error}")


def describe_run(run: Run) -> None:
    """Write ``run.json``, what the report's headline needs, and ``config.yaml``, which repeats the run."""
    parameters = count_parameters(run.model)
    facts = {
        "started": time.time(),
        "parameters": parameters,
        "config": config_to_dict(run.config),
        "plugins": run.resolved.host.describe(),
        "ranks": run.world.size,
        "sources": run.stream.corpus,
        "versions": versions(),
    }
    (run.directory / "run.json").write_text(json.dumps(facts, indent=1))
    (run.directory / "config.yaml").write_text(run.resolved.to_yaml())
    total = sum(parameters.values())
    parts = ", ".join(f"{name} {count / 1e6:.2f}" for name, count in parameters.items())
    run.journal.say(f"{total / 1e6:.2f} M parameters: {parts}")


def versions() -> dict[str, str]:
    return {
        "spectranet-core": spectranet.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
