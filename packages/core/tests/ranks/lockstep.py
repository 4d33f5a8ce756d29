"""Rank script: three ranks, one of which is about to take another step; argv: OUT."""

import dataclasses
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
import toy_run

from spectranet.train.distributed import leave
from spectranet.train.faults.lockstep import DesyncError, Lockstep
from spectranet.train.objective_pass import ObjectivePass

model, _, world = toy_run.toy_model()
told = {}


class Host:
    """Stands in for the plugins: what it says is all that is asked of it."""

    def digest(self):
        return "0123456789abcdef"

    def brought_by(self, kind, name):
        return f"{name}-plugin"


def attempt(case, passes, batches, step=7):
    try:
        passes(batches, step)
        told[case] = ""
    except DesyncError as error:
        told[case] = str(error)


passes = ObjectivePass(model, world, toy_run.COEFFICIENTS, lockstep=Lockstep(model, world, Host()))


def batches_with(odd_rank, change):
    batches = toy_run.micro_batches(world, 2)
    if world.rank == odd_rank:
        change(batches)
    return batches


def another_source(batches):
    batches[1] = dataclasses.replace(batches[1], source="clips")


def without_a_modality(batches):
    del batches[1].modalities["right"]


def another_shape(batches):
    batches[0].modalities["left"].data["x"] = batches[0].modalities["left"].data["x"][..., None]


def fewer_samples(batches):
    batches[0] = dataclasses.replace(batches[0], keys=batches[0].keys[:1])


def nothing_hidden(batches):
    for one in batches[0].modalities.values():
        one.hidden_BH, one.hidden_valid_BH = one.hidden_BH[:, :0], one.hidden_valid_BH[:, :0]


attempt("none", passes, toy_run.micro_batches(world, 2))
attempt("lengths", passes, batches_with(1, nothing_hidden))
for case, odd_rank, change in (
    ("source", 1, another_source),
    ("modality", 0, without_a_modality),
    ("shape", 2, another_shape),
    ("samples", 1, fewer_samples),
    ("micro-batches", 1, lambda batches: batches.pop()),
):
    attempt(case, passes, batches_with(odd_rank, change))
attempt("step", passes, toy_run.micro_batches(world, 2), step=7 + (world.rank == 2))
if world.rank == 1:
    model.objectives["masked"].terms += ("masked.depth",)
try:
    Lockstep(model, world, Host())
except DesyncError as error:
    told["terms"] = str(error)
attempt("after", passes, toy_run.micro_batches(world, 2))
Path(f"{sys.argv[1]}.{world.rank}").write_text(json.dumps(told))
leave(0)
