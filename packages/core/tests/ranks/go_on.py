"""Rank script: find the newest good checkpoint together, go on to step 6; saves that fail; argv: DIR OUT."""

import dataclasses
import json
import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
import torch
import toy_run

import spectranet.train.checkpoint.save as save
from spectranet.config.schema import CheckpointConfig
from spectranet.train.checkpoint import CheckpointNotWritten, Saver, find_good_checkpoint, load_checkpoint
from spectranet.train.checkpoint.peers import find_peers
from spectranet.train.distributed import leave
from spectranet.train.optimizer import build_optimizer
from spectranet.train.parallel.mesh import rank_mesh
from spectranet.train.parallel.parallelize import build_sharded

directory, out = Path(sys.argv[1]), Path(sys.argv[2])
checkpoint, complaints = find_good_checkpoint(directory, find_peers())
model, optimizer, world = toy_run.toy_model()
load_checkpoint(checkpoint, model, optimizer)
losses = toy_run.train_steps(model, optimizer, world, range(checkpoint.step, 6))
found = {"losses": losses, "step": checkpoint.step, "complaints": complaints}

said, saved = [], []
other = directory.parent / "other"
options = CheckpointConfig(every=10, keep_last=1, keep_every=20)
saver = Saver(other, options, world, said.append, lambda path, step: saved.append(step))
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)[1]


def fill_disk(full: bool) -> None:
    """Of rank 1: it cannot write more than a page to a file (EFBIG)."""
    if world.rank == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096 if full else unlimited, unlimited))


def train(steps: range) -> None:
    """The part of the loop that concerns saves."""
    for done in steps:
        saver.update(world.sum(torch.tensor(saver.counts(), dtype=torch.float64)).tolist())
        if saver.due(done):
            saver.begin(done, model, optimizer, {})
            saver.wait()


def listed() -> list[str]:
    """What lies there, when no rank is at it."""
    world.sum(torch.zeros(1))
    names = sorted(path.name for path in other.iterdir())
    world.sum(torch.zeros(1))
    return names


train(range(9, 41))
found["kept"] = listed()
fill_disk(True)
train(range(41, 54))
found["kept while full"] = listed()
found["warnings"] = said[:]
fill_disk(False)
train(range(54, 59))
found["saved"], found["kept after"] = saved, listed()
fill_disk(True)
save._LAST_TRIES_S = (0.01,)
try:
    saver.save_last(59, model, optimizer, {})
except CheckpointNotWritten as error:
    found["lost"], found["code"] = str(error), error.exit_code
fill_disk(False)

alone = Saver(directory.parent / "alone", options, world, saved=lambda path, step: saved.append(path.name))
alone.begin(7, model, optimizer, {})
alone.finish_alone()  # as where an error has ended each rank by itself
world.sum(torch.zeros(1))
found["saved alone"] = [
    path.name for path in find_good_checkpoint(directory.parent / "alone")[0].path.glob("*")
]
found["left alone"] = [path.name for path in (directory.parent / "alone").iterdir()]

config, parts = toy_run.toy_config()
replica = build_sharded(config, parts, dataclasses.replace(world, mesh=rank_mesh("cpu", 2, 1)))
its_optimizer = build_optimizer(replica, config.train.optimizer)
Saver(directory.parent / "replicas", options, world).save_last(1, replica, its_optimizer, {})
found["replicas"] = sorted(path.name for path in (directory.parent / "replicas" / "step-00000001").iterdir())
if world.rank == 1:  # the rank that failed, and that did not read what is damaged
    out.write_text(json.dumps(found))
world.sum(torch.zeros(1))
leave(0)
