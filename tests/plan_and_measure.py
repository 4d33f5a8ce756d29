"""Predicts a step's gradient and then makes it for real, in this process, on one rank.

argv: preset, then KEY=VALUE. Prints JSON: variant -> source -> what was predicted and measured. The peak
that is measured is that of the tensors alive; FLOPs are counted by torch's own counter, in another step.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from spectranet.config import Config, load_config
from spectranet.contracts import Batch, Modality
from spectranet.data.collate import collate
from spectranet.data.pipeline import Sample, Viewer
from spectranet.data.ratios import hidden_ratios
from spectranet.model.build import Parts, select_parts
from spectranet.plan.batches import largest_batch
from spectranet.plan.growth import Growth
from spectranet.plan.meter import Meter
from spectranet.plan.simulate import Cost, rehearse, step_cost
from spectranet.train.distributed import leave, start_world
from spectranet.train.objective_pass import ObjectivePass, coefficients
from spectranet.train.optimizer import build_optimizer, fill_gradients
from spectranet.train.parallel.parallelize import build_sharded

SIZES = (1, 8, 32)
SIZE = 8
VARIANTS: dict[str, dict[str, Any]] = {
    "graphs kept, fp32": {"keep_encoded": True, "precision": "fp32"},
    "checkpointed, bf16": {"keep_encoded": False, "precision": "bf16", "activation_checkpointing": "full"},
}
ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(
        q, k, v
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda gradient, q, k, v, *_, **__: sdpa_backward_flop_count(gradient, q, k, v)
    ),
}


def real_batch(config: Config, modalities: dict[str, Modality], source: str) -> Batch:
    """Samples that modalities show as examples: shorter than the longest, of different lengths."""
    ratios, rng = hidden_ratios(config, modalities), np.random.default_rng(0)
    viewers = [
        Viewer.of(modalities[name], config.modalities[name], train=True, ratio=ratios.get(name, 0.0))
        for name in sorted(config.data.sources[source].modalities)
    ]
    samples = []
    for number in range(SIZE):
        views = {v.name: v.view(modalities[v.name].example(rng), (number, source)) for v in viewers}
        samples.append(Sample(str(number), views))
    return collate(samples, modalities, source=source, ids=range(SIZE))


def predict(config: Config, parts: Parts) -> dict[str, dict[int, Cost]]:
    """Source -> size -> cost."""
    with rehearse(config, parts, 1) as rehearsal:
        return {s: {size: rehearsal.cost(s, size) for size in SIZES} for s in config.data.sources}


def measure(config: Config, parts: Parts, predicted: dict[str, dict[int, Cost]]) -> dict[str, Any]:
    """Source -> what was predicted of a micro-batch of ``SIZE``, and what was measured."""
    world = start_world("cpu", 1)
    with Meter() as meter:
        model = build_sharded(config, parts, world)
        optimizer = build_optimizer(model, config.train.optimizer)
    fill_gradients(model.parameters())
    found: dict[str, Any] = {}
    for source, costs in predicted.items():
        found[source] = {
            "bytes": {size: cost.peak_bytes for size, cost in costs.items()},
            "chord_bytes": Growth(SIZES[0], costs[SIZES[0]], SIZES[-1], costs[SIZES[-1]]).at(SIZE).peak_bytes,
            "flops": sum(phase.flops for phase in costs[SIZE].phases.values()),
        }
        batches = {
            "largest": largest_batch(config, parts.modalities, source, SIZE),
            "examples": real_batch(config, parts.modalities, source),
        }
        for kind, batch in batches.items():
            with meter:
                meter.watch([*model.parameters(), *(p.grad for p in model.parameters())])
                peak = step_cost(config, model, world, [batch], meter).peak_bytes
            with FlopCounterMode(display=False, custom_mapping=ON_CPU) as counter:
                ObjectivePass(model, world, coefficients(config), config.train.keep_encoded)([batch])
            found[source][kind] = {"bytes": peak, "flops": counter.get_total_flops()}
    assert optimizer.state  # its moments were alive throughout
    return found


def main() -> None:
    resolved = load_config([sys.argv[1]], sys.argv[2:], None)
    train = replace(resolved.config.train, threads=1)
    configs = {
        name: replace(resolved.config, train=replace(train, **changes)) for name, changes in VARIANTS.items()
    }
    parts = select_parts(resolved.config, resolved.host.modalities, resolved.host.objectives)
    # All predictions come first: they need a process that is no rank of anything yet.
    predicted = {name: predict(config, parts) for name, config in configs.items()}
    found = {name: measure(config, parts, predicted[name]) for name, config in configs.items()}
    print(json.dumps(found))
    leave(0)


if __name__ == "__main__":
    main()
