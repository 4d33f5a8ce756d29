"""Rank script: norms of one gradient and what clipping leaves of it, by shape of the mesh; argv: OUT."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
import toy_run

from spectranet.train.distributed import leave, start_world
from spectranet.train.objective_pass import ObjectivePass
from spectranet.train.optimizer import fill_gradients
from spectranet.train.parallel.parallelize import build_sharded
from spectranet.train.watch.gradient_norms import GradientNorms

found = {}
config, parts = toy_run.toy_config()
for shard_ranks in (None, 1):
    world = start_world("cpu", 1, shard_ranks=shard_ranks)
    model = build_sharded(config, parts, world)
    norms = GradientNorms(model, world)
    ObjectivePass(model, world, toy_run.COEFFICIENTS)(toy_run.micro_batches(world, 2))
    fill_gradients(model.parameters())
    one = {"before": toy_run.gradients(model), "total": norms.clip(0.1), "by_part": norms.by_part}
    one["after"] = toy_run.gradients(model)
    one["unclipped"] = norms.clip(10.0)
    one["unchanged"] = toy_run.gradients(model)
    if world.rank == world.size - 1:
        model.memory.null.grad.fill_(torch.nan)
    one["spoilt"] = norms.clip(0.1)
    model.memory.null.grad.fill_(torch.inf)
    one["infinite"] = norms.clip(0.1)
    one["not clipped"] = toy_run.gradients(model)
    found[shard_ranks] = one
if world.is_main:
    torch.save(found, sys.argv[1])
leave(0)
