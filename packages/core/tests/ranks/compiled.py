"""Rank script: steps of several batch sizes, each block compiled and not; argv: OUT BACKEND.

Saves, by variant: the gradients of each step, and what torch counted while it compiled.
"""

import sys
from pathlib import Path

import torch
from torch import nn
from torch._dynamo.utils import counters

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
import toy_run

from spectranet.train.distributed import leave
from spectranet.train.objective_pass import ObjectivePass

out, backend = sys.argv[1:]
compile_module = nn.Module.compile
# Programs are traced, cut and differentiated by torch's compiler; the last stage may be left to eager.
nn.Module.compile = lambda module, **options: compile_module(module, backend=backend, **options)
COUNTS = (2, 1, 4, 8, 2)
"""Micro-batches of each step, of 4, 8, 2, 1 and 4 samples."""


def run(**options):
    torch.compiler.reset()
    counters.clear()
    model, optimizer, world = toy_run.toy_model(**options)
    passes = ObjectivePass(model, world, toy_run.COEFFICIENTS)
    steps, graphs = [], []
    for count in COUNTS:
        passes(toy_run.micro_batches(world, count))
        steps.append(toy_run.gradients(model))
        optimizer.zero_grad()
        graphs.append(counters["stats"]["unique_graphs"])
    return world, {"gradients": steps, "graphs": graphs, "breaks": dict(counters["graph_break"])}


results = {}
world, results["eager"] = run()
for checkpointing in ("none", "selective"):
    _, results[checkpointing] = run(compile=True, activation_checkpointing=checkpointing)
if world.is_main:
    torch.save(results, out)
leave(0)
