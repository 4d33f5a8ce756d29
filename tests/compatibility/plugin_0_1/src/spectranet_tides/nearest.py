"""How often a sample's partner is the nearest of its source."""

from __future__ import annotations

from itertools import permutations

import torch

from spectranet import ConfigError, TaskData
from spectranet_tides.options import NearestOptions


@torch.no_grad()
def evaluate(model, data: TaskData, config: NearestOptions) -> dict[str, float]:
    if "align" not in model.objectives:
        raise ConfigError("task 'nearest' needs the objective 'align': objectives.align={}")
    figures = {}
    for source in data.names():
        parts: dict[str, list[torch.Tensor]] = {}
        for batch in data.batches(source):
            for name, rows in model.embed("align", batch).items():
                parts.setdefault(name, []).append(rows.vectors_RE.float())
        whole = {name: torch.cat(some)[: config.most] for name, some in parts.items()}
        for a, b in permutations(sorted(whole), 2):
            nearest = (whole[a] @ whole[b].T).argmax(dim=1)
            hits = nearest == torch.arange(len(nearest), device=nearest.device)
            figures[f"{source}/{a}-{b}/first"] = float(hits.float().mean())
    return figures
