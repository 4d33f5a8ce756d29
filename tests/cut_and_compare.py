"""Rank script: the gradient of one global batch of real modalities, cut in several ways; argv: OUT.

Saves {(micro-batches of a source, whether graphs are kept): {parameter: gradient}}. Alone it adds what they
are compared with, as ``whole`` (see :func:`plain_gradient`), and what memory a step takes, as ``peaks``.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from peak_of_a_step import extra_peaks
from torch import Tensor
from torch.distributed.tensor import DTensor

from spectranet.config import Config, load_config
from spectranet.contracts import Batch, Rows
from spectranet.data.collate import collate
from spectranet.data.pipeline import Sample, Viewer
from spectranet.model.build import Parts, build_model, initialise_model, select_parts
from spectranet.train.distributed import leave, start_world
from spectranet.train.objective_pass import ObjectivePass, coefficients
from spectranet.train.optimizer import fill_gradients
from spectranet.train.parallel.parallelize import build_sharded

SOURCES = {"pictures": ("image", "text"), "clips": ("video", "audio", "text"), "sounds": ("audio", "text")}
SAMPLES = 16
"""Of each source in the global batch: one a micro-batch when two ranks cut their share in eight."""
CUTS = ((1, False), (2, False), (8, False), (2, True))
"""(micro-batches of a source, whether the encoders' graphs are kept)."""
PEAKS = ((2, False), (8, False), (32, False), (2, True), (8, True))
"""(micro-batches of two clips, whether the encoders' graphs are kept)."""
OPTIONS = (
    *(f"data.sources.{name}.modalities=[{','.join(each)}]" for name, each in SOURCES.items()),
    *("objectives.captioning.max_tokens=6", "objectives.temporal.weight=0.7", "objectives.mmm.weight=0.5"),
    *("trunks.vit.image_size=24", "modalities.image.size=24", "modalities.video.size=16"),
    *("modalities.audio.max_seconds=1.0", "tasks.retrieval=null", "train.threads=1"),
)


def configured() -> tuple[Config, Parts]:
    resolved = load_config(["tiny"], list(OPTIONS))
    parts = select_parts(resolved.config, resolved.host.modalities, resolved.host.objectives)
    assert set(parts.objectives) == {"mmm", "contrastive", "temporal", "captioning"}
    return resolved.config, parts


def draw_samples(config: Config, parts: Parts) -> dict[str, list[Sample]]:
    """The modalities' own examples through their real decoders, transforms and masks; lengths differ."""
    rng, drawn = np.random.default_rng(0), {}
    for source, names in SOURCES.items():
        viewers = [
            Viewer.of(parts.modalities[name], config.modalities[name], train=True, ratio=0.3)
            for name in sorted(names)
        ]
        drawn[source] = [
            Sample(
                f"{source}/{number}",
                {v.name: v.view(parts.modalities[v.name].example(rng), (number, source)) for v in viewers},
            )
            for number in range(SAMPLES)
        ]
    return drawn


def micro_batches(
    drawn: dict[str, list[Sample]], parts: Parts, count: int, rank: int = 0, ranks: int = 1
) -> list[Batch]:
    """A rank's share of the global batch: ``count`` micro-batches of each source, in turns."""
    size = SAMPLES // ranks // count
    batches = []
    for number in range(count):
        for place, (source, samples) in enumerate(drawn.items()):
            first = (rank * count + number) * size
            rows = range(first, first + size)
            ids = [place * SAMPLES + row for row in rows]
            batches.append(collate([samples[row] for row in rows], parts.modalities, source=source, ids=ids))
    return batches


def plain_gradient(
    config: Config, parts: Parts, batches: list[Batch]
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """What a hand-written step computes: all is encoded, all losses are added up, one backward.

    Unsharded, in one pass and in float64; it shares only the modules and their losses with training.
    """
    model = build_model(config, parts)
    initialise_model(model, config.train.seed, torch.device("cpu"))
    sums: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    rows: defaultdict[tuple[str, str], list[Rows]] = defaultdict(list)
    with fp32_is_float64():
        model.double()
        for batch in batches:
            encoded = model.encode(batch)
            local = [name for name, objective in parts.objectives.items() if not objective.needs_global_batch]
            asked = {name: model.objectives[name].queries(batch, encoded) for name in local}
            states = model.decode({name: each for name, each in asked.items() if each is not None}, encoded)
            for name in local:
                for term, loss in model.objectives[name].loss(states.get(name), encoded, batch).items():
                    sums[term] += loss.sum
                    weights[term] += loss.weight
            for name in parts.objectives.keys() - set(local):
                for what, some in model.objectives[name].embeddings(encoded, batch).items():
                    rows[name, what].append(some)
        for name in {name for name, _ in rows}:
            together = {
                what: Rows(torch.cat([r.vectors_RE for r in each]), torch.cat([r.ids_RI for r in each]))
                for (owner, what), each in rows.items()
                if owner == name
            }
            for term, loss in model.objectives[name].global_loss(together).items():
                sums[term], weights[term] = loss.sum, loss.weight
        total = sum(
            float(config.objectives[term.partition(".")[0].partition("_")[0]].weight)
            * sums[term]
            / weights[term]
            for term in sums
            if weights[term]
        )
        total.backward()
    values = {term: float(sums[term].detach() / weights[term]) for term in sums}
    return {name: parameter.grad for name, parameter in model.named_parameters()}, values


def whole(gradient: Tensor) -> Tensor:
    return gradient.full_tensor() if isinstance(gradient, DTensor) else gradient.clone()


@contextmanager
def fp32_is_float64() -> Iterator[None]:
    """Losses ask for fp32 where training is in bf16; here they get more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        patch.setattr(torch, "float32", torch.float64)
        yield


def main() -> None:
    config, parts = configured()
    world = start_world("cpu", 1)
    drawn = draw_samples(config, parts)
    factors = coefficients(config)
    found: dict[Any, Any] = {}
    if world.size == 1:
        found["whole"], found["losses"] = plain_gradient(config, parts, micro_batches(drawn, parts, 1))
    model = build_sharded(config, parts, world)
    for count, keep in CUTS:
        passes = ObjectivePass(model, world, factors, keep)
        passes(micro_batches(drawn, parts, count, world.rank, world.size))
        fill_gradients(model.parameters())
        found[count, keep] = {name: whole(p.grad) for name, p in model.named_parameters()}
        model.zero_grad()
    if world.size == 1:
        found["peaks"] = extra_peaks(model, world, factors, parts, drawn["clips"][:2], PEAKS)
    if world.is_main:
        torch.save(found, sys.argv[1])
    leave(0)


if __name__ == "__main__":
    main()
