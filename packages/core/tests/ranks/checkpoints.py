"""Rank script: train some steps from the newest checkpoint and save; argv: DIR FROM TO OUT."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
import toy_run

from spectranet.train.checkpoint import find_good_checkpoint, load_checkpoint, save_checkpoint
from spectranet.train.distributed import leave

directory, first, last, out = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
model, optimizer, world = toy_run.toy_model()
checkpoint, complaints = find_good_checkpoint(directory)
if first:
    assert checkpoint is not None and checkpoint.step == first, (checkpoint, complaints)
    load_checkpoint(checkpoint, model, optimizer)
losses = toy_run.train_steps(model, optimizer, world, range(first, last))
save_checkpoint(directory, last, model, optimizer, {"topology": {"ranks": world.size}}, world, keep_last=3)
if world.is_main:
    out.write_text(json.dumps({"losses": losses, "complaints": complaints}))
leave(0)
