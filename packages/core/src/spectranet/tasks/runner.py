"""Run the configured tasks on the held-out sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from spectranet.config import Config
from spectranet.data.corpus import describe_corpus
from spectranet.data.loader import EvalData
from spectranet.model.build import Parts
from spectranet.model.spectranet import SpectraNet
from spectranet.plugins import PluginHost
from spectranet.train.distributed import World
from spectranet.train.same_data import require_same_data, usable_everywhere

__all__ = ["run_tasks"]


def run_tasks(
    model: SpectraNet,
    config: Config,
    parts: Parts,
    host: PluginHost,
    world: World,
    agree: Callable[[Sequence[bool]], Sequence[bool]] | None = None,
) -> dict[str, float]:
    """Figures of every task, as ``{source}/{figure}``; empty without tasks or held-out sources.

    Called on every rank; the model is in training mode again afterwards. All ranks get the same batches,
    as a forward of a sharded model needs.

    Args:
        agree: called with what this rank can use of each batch, for what all can; see
            :func:`spectranet.train.same_data.usable_everywhere`. It may raise, to end the evaluation.

    Raises:
        ConfigError: the held-out sources are not the same on all ranks.
    """
    if not config.eval.sources or not config.tasks:
        return {}
    readers = list(host.readers.values())
    data = EvalData(config, parts.modalities, readers, agree or usable_everywhere(world))
    require_same_data(world, describe_corpus(data.sources))
    results: dict[str, float] = {}
    model.eval()
    with torch.no_grad():
        for name, options in sorted(config.tasks.items()):
            results |= host.tasks[name].evaluate(model, data, options)
    model.train()
    return results
