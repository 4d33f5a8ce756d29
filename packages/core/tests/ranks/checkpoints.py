"""Rank script: train the toy model 6 steps and save after 3, which the next steps overlap; argv: DIR OUT."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
import torch
import torch.distributed.checkpoint as dcp
import toy_run
from torch.distributed.checkpoint import HuggingFaceStorageReader

from spectranet.config.schema import CheckpointConfig
from spectranet.train.checkpoint import Saver, list_checkpoints
from spectranet.train.checkpoint.shards import state_of
from spectranet.train.distributed import leave

directory, out = Path(sys.argv[1]), Path(sys.argv[2])
model, optimizer, world = toy_run.toy_model()
saved = []
saver = Saver(directory, CheckpointConfig(keep_last=3), world, saved=lambda path, step: saved.append(step))


def step_of(number: int) -> list[float]:
    losses = toy_run.train_steps(model, optimizer, world, range(number, number + 1))
    saver.update(world.sum(torch.tensor(saver.counts(), dtype=torch.float64)).tolist())
    return losses


losses = [loss for number in range(3) for loss in step_of(number)]
saver.begin(3, model, optimizer, {"topology": {"ranks": world.size}})
at_3 = {name: tensor.full_tensor().clone() for name, tensor in state_of(model, optimizer).items()}
assert list_checkpoints(directory) == [], "begun, not waited for"
losses += [loss for number in range(3, 6) for loss in step_of(number)]
saver.save_last(6, model, optimizer, {"topology": {"ranks": world.size}})
assert saved == [3, 6], saved

# An independent reader finds in the files of step 3 what the state was when the save began.
read = {name: torch.full_like(tensor, torch.nan) for name, tensor in at_3.items()}
dcp.load(read, storage_reader=HuggingFaceStorageReader(str(directory / "step-00000003")), no_dist=True)
different = [name for name in at_3 if not torch.equal(at_3[name], read[name])]
assert not different, different
unused = [name for name in at_3 if name.startswith("exp_avg_sq.") and not at_3[name].any()]
assert not any(torch.isnan(tensor).any() for tensor in read.values())
if world.is_main:
    out.write_text(json.dumps({"losses": losses, "unused": unused}))
leave(0)
