"""Builds the toy model in this process, alone or as one rank of torchrun."""

from __future__ import annotations

import torch
import toy
from torch.distributed.tensor import DTensor

from spectranet.config.schema import Config, DecoderConfig, OptimizerConfig
from spectranet.model.build import Parts
from spectranet.model.spectranet import SpectraNet
from spectranet.train.distributed import World, start_world
from spectranet.train.objective_pass import ObjectivePass
from spectranet.train.optimizer import build_optimizer, fill_gradients
from spectranet.train.parallel.parallelize import build_sharded
from spectranet.train.watch.gradient_norms import GradientNorms

COEFFICIENTS = {"masked": 1.0, "pair": 0.5}
GLOBAL_BATCH = 16


def toy_config(**train: object) -> tuple[Config, Parts]:
    config = Config()
    config.model.decoder = DecoderConfig(width=32, layers=2, heads=4, mlp_hidden=64)
    config.modalities = {name: toy.ToyConfig() for name in ("left", "right")}
    config.objectives = {"masked": toy.MaskedConfig(), "pair": toy.PairConfig()}
    config.train.optimizer = OptimizerConfig(lr_peak=1e-2)
    for name, value in train.items():
        setattr(config.train, name, value)
    modalities = {name: toy.toy_modality(name) for name in ("left", "right")}
    objectives = {"masked": toy.MASKED, "pair": toy.PAIR}
    return config, Parts(modalities, objectives, (frozenset(("left", "right")),))


def toy_model(**train: object) -> tuple[SpectraNet, torch.optim.AdamW, World]:
    config, parts = toy_config(**train)
    world = start_world("cpu", 1)
    model = build_sharded(config, parts, world)
    return model, build_optimizer(model, config.train.optimizer), world


def micro_batches(world: World, count: int, seed: int = 0) -> list:
    """This rank's share of the global batch, cut into ``count`` micro-batches."""
    share = GLOBAL_BATCH // world.size
    ids = list(range(world.rank * share, (world.rank + 1) * share))
    size = share // count
    return [toy.toy_batch(ids[i * size : (i + 1) * size], seed) for i in range(count)]


def gradients(model: SpectraNet) -> dict[str, torch.Tensor]:
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {n: g.full_tensor().clone() if isinstance(g, DTensor) else g.clone() for n, g in found.items()}


def train_steps(model: SpectraNet, optimizer: torch.optim.AdamW, world: World, steps: range) -> list[float]:
    passes = ObjectivePass(model, world, COEFFICIENTS)
    norms = GradientNorms(model, world)
    losses = []
    for step in steps:
        batches = micro_batches(world, 2, seed=step)
        if step % 3 == 0:  # a step without one of the towers, also the first after a resume
            for batch in batches:
                del batch.modalities["right"]
        result = passes(batches)
        fill_gradients(model.parameters())
        norms.clip(1.0)
        optimizer.step()
        model.after_step()
        optimizer.zero_grad()
        losses.append(result.reduce(world, passes.term_coefficients)["loss"])
    return losses
