"""From a finished (or running) run to a model one can ask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spectranet.config import Resolved
from spectranet.errors import ConfigError
from spectranet.model.build import Parts, select_parts
from spectranet.model.spectranet import SpectraNet
from spectranet.train.checkpoint import find_good_checkpoint, load_checkpoint
from spectranet.train.distributed import World, start_world
from spectranet.train.parallel.parallelize import build_sharded

__all__ = ["Trained", "load_trained"]


@dataclass(frozen=True)
class Trained:
    """A model with the weights of a checkpoint, and what it was built from."""

    model: SpectraNet
    parts: Parts
    resolved: Resolved
    step: int
    world: World


def load_trained(resolved: Resolved) -> Trained:
    """The model of ``run_dir``'s newest good checkpoint, in evaluation mode.

    Raises:
        ConfigError: the run has no intact checkpoint.
    """
    config = resolved.config
    directory = Path(config.run_dir) / "checkpoints"
    checkpoint, complaints = find_good_checkpoint(directory)
    if checkpoint is None:
        raise ConfigError("\n  ".join([f"no intact checkpoint in {directory}.", *complaints]))
    world = start_world(config.train.device, config.train.threads)
    parts = select_parts(config, resolved.host.modalities, resolved.host.objectives)
    model = build_sharded(config, parts, world)
    load_checkpoint(checkpoint, model, None)
    return Trained(model.eval(), parts, resolved, checkpoint.step, world)
