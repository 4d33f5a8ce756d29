"""Rank script: what two steps are seen to be, over all ranks; argv: OUT. Rank 1 waits for its data."""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
import toy_run

from spectranet.config.schema import SourceConfig
from spectranet.train.distributed import leave
from spectranet.train.objective_pass import ObjectivePass
from spectranet.train.watch.watch import Watch

config, parts = toy_run.toy_config(steps=2, global_batch=toy_run.GLOBAL_BATCH)
config.run_dir = "."
config.data.sources = {"toy": SourceConfig(modalities=["left", "right"])}
model, _, world = toy_run.toy_model()
watch = Watch(config, parts, model, world)
passes = ObjectivePass(model, world, toy_run.COEFFICIENTS)


slept_s = 0.0


def stream():
    global slept_s
    for seed in range(2):
        asleep_s = time.perf_counter()
        time.sleep(0.3 * world.rank)
        slept_s += time.perf_counter() - asleep_s
        yield toy_run.micro_batches(world, 2, seed)


began_s = time.perf_counter()
for _, batches in watch.steps(stream(), 0):
    passes(batches)
    watch.saw(batches)
figures = watch.figures()
shares = world.tell_all(slept_s / (time.perf_counter() - began_s))
figures["slept_share"] = shares[-1]  # of more time than was watched, so it is a lower bound
flops_per_s = 1e12 * figures["tflops_per_device"] * world.size
figures["flops_per_step"] = flops_per_s * figures["seconds_per_step"]
if world.is_main:
    Path(sys.argv[1]).write_text(json.dumps(figures))
leave(0)
