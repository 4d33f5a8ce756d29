"""Rank script: the gradient of one global batch, cut in several ways; argv: OUT."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
import toy_run

from spectranet.errors import ConfigError
from spectranet.train.distributed import leave
from spectranet.train.objective_pass import ObjectivePass

model, optimizer, world = toy_run.toy_model()
result = {}
for keep in (False, True):
    passes = ObjectivePass(model, world, toy_run.COEFFICIENTS, keep)
    for count in (1, 2, 8):
        losses = passes(toy_run.micro_batches(world, count)).reduce(world, passes.term_coefficients)
        result[count, keep] = {"losses": losses, "gradients": toy_run.gradients(model)}
        optimizer.zero_grad()
for variant, options in {"checkpointed": {"activation_checkpointing": "full"}, "touched": {}}.items():
    model, optimizer, world = toy_run.toy_model(**options)
    model.touch_objectives = variant == "touched"
    passes = ObjectivePass(model, world, toy_run.COEFFICIENTS)
    losses = passes(toy_run.micro_batches(world, 2)).reduce(world, passes.term_coefficients)
    result[2, variant] = {"losses": losses, "gradients": toy_run.gradients(model)}
world.require_same("colours", "blue")
try:
    world.require_same("numbers", str(world.rank))
    result["refusal"] = ""
except ConfigError as error:
    result["refusal"] = str(error)
if world.is_main:
    torch.save(result, sys.argv[1])
leave(0)
