"""Run the configured tasks on the held-out sources."""

from __future__ import annotations

import torch

from spectranet.config import Config
from spectranet.data.loader import EvalData
from spectranet.model.build import Parts
from spectranet.model.spectranet import SpectraNet
from spectranet.plugins import PluginHost

__all__ = ["run_tasks"]


def run_tasks(model: SpectraNet, config: Config, parts: Parts, host: PluginHost) -> dict[str, float]:
    """Figures of every task, as ``{source}/{figure}``; empty without tasks or held-out sources.

    Called on every rank; the model is in training mode again afterwards.
    """
    if not config.eval.sources or not config.tasks:
        return {}
    data = EvalData(config, parts.modalities, list(host.readers.values()))
    results: dict[str, float] = {}
    model.eval()
    with torch.no_grad():
        for name, options in sorted(config.tasks.items()):
            results |= host.tasks[name].evaluate(model, data, options)
    model.train()
    return results
