"""Rank script: one step of mixed sources, its ranks arranged in several ways; argv: OUT.

Saves, by variant: the first step's gradients, the parameters after three, and what was sent between ranks.
"""

import os
import sys
from collections import Counter
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
import toy
import toy_run

from spectranet import Objective
from spectranet.config.schema import CheckpointConfig
from spectranet.train.checkpoint import Saver, find_good_checkpoint, load_checkpoint
from spectranet.train.distributed import leave, start_world
from spectranet.train.objective_pass import ObjectivePass
from spectranet.train.optimizer import build_optimizer, fill_gradients
from spectranet.train.parallel.parallelize import build_sharded
from spectranet.train.watch.gradient_norms import GradientNorms

VARIANTS = {
    "plain": {},
    "selective": {"activation_checkpointing": "selective"},
    "full": {"activation_checkpointing": "full"},
}
if "RANK" in os.environ:
    VARIANTS |= {
        "kept": {"gather": "keep", "activation_checkpointing": "selective"},
        "kept, also the graphs": {"gather": "keep", "keep_encoded": True},
        "two copies": {"shard_ranks": 2},
        "two copies, kept": {"shard_ranks": 2, "gather": "keep", "activation_checkpointing": "full"},
        "four copies, also the graphs": {"shard_ranks": 1, "keep_encoded": True},
        "bf16": {"precision": "bf16"},
        "bf16, two copies, kept": {"precision": "bf16", "shard_ranks": 2, "gather": "keep"},
    }
    del VARIANTS["selective"], VARIANTS["full"]


class Sent(TorchDispatchMode):
    """Counts the collectives of FSDP, and the elements that ranks put into them."""

    def __init__(self):
        super().__init__()
        self.calls, self.elements = Counter(), Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(issubclass(each, DTensor) for each in types):
            return NotImplemented
        if func.namespace == "c10d":
            name = func._opname.strip("_")
            given = args[0] if name == "allreduce" else args[1]
            self.calls[name] += 1
            self.elements[name] += sum(t.numel() for t in pytree.tree_leaves(given) if hasattr(t, "numel"))
        return func(*args, **(kwargs or {}))


class MixedPair(toy.Pair):
    """Contrast of the samples that have both modalities."""

    def global_loss(self, rows):
        shared = torch.isin(rows["left"].ids_RI[:, 0], rows["right"].ids_RI[:, 0])
        left = toy.Rows(rows["left"].vectors_RE[shared], rows["left"].ids_RI[shared])
        return super().global_loss({"left": left, "right": rows["right"]})


class SometimesMasked(toy.Masked):
    """Has a weight that only the micro-batch with sample 0 uses: on one rank, and not in the last one."""

    def __init__(self, context):
        super().__init__(context)
        self.rare = torch.nn.Linear(context.width, context.width)

    def init_weights(self):
        super().init_weights()
        torch.nn.init.eye_(self.rare.weight)
        torch.nn.init.ones_(self.rare.bias)

    def loss(self, states, encoded, batch):
        if 0 in batch.ids_B:
            states = torch.where(batch.ids_B[:, None, None] == 0, self.rare(states), states)
        return super().loss(states, encoded, batch)


def batches_of(world, step):
    """Three micro-batches: the tower 'right' is in the first alone."""
    share = toy_run.GLOBAL_BATCH // 4  # of a rank: two samples, one, one
    ids = [list(range(each * share, (each + 1) * share)) for each in range(4)]
    mine = ids if world.size == 1 else [ids[world.rank]]
    batches = []
    for micro, missing in enumerate(((), ("right",), ("right",))):
        chosen = [i for each in mine for i in each if max(0, i % share - 1) == micro]
        batch = toy.toy_batch(chosen, seed=step)
        for name in missing:
            del batch.modalities[name]
        batches.append(batch)
    return batches


def build(options):
    config, parts = toy_run.toy_config(**options)
    parts.objectives["pair"] = Objective(
        "pair", toy.PairConfig, lambda _, context: MixedPair(context), needs_global_batch=True
    )
    parts.objectives["masked"] = Objective(
        "masked", toy.MaskedConfig, lambda _, context: SometimesMasked(context)
    )
    world = start_world("cpu", 1, shard_ranks=config.train.shard_ranks)
    model = build_sharded(config, parts, world)
    train = config.train
    passes = ObjectivePass(model, world, toy_run.COEFFICIENTS, train.keep_encoded, train.gather)
    return model, build_optimizer(model, train.optimizer), world, passes


def run(model, optimizer, world, passes):
    found = {}
    for step in range(3):
        with Sent() as sent:
            losses = passes(batches_of(world, step))
        fill_gradients(model.parameters())
        found.setdefault("gradients", toy_run.gradients(model))
        found.setdefault("norm", GradientNorms(model, world).clip(1.0))
        optimizer.step()
        model.after_step()
        optimizer.zero_grad()
        if step == 1:  # FSDP has gathered every unit by now
            found["sent"] = {"calls": dict(sent.calls), "elements": dict(sent.elements)}
            with torch.no_grad():  # an evaluation comes between steps
                model.embed("pair", batches_of(world, 2)[0])
    found["losses"] = losses.reduce(world, passes.term_coefficients)
    found["parameters"] = whole(model)
    with Sent() as sent:
        batches = batches_of(world, 2)
        passes.accumulation.begin(batches)
        passes.contrast(passes.embed_all(batches, [None] * len(batches)), losses)
    found["sent for contrast"] = {"calls": dict(sent.calls), "elements": dict(sent.elements)}
    return found


def whole(model):
    state = model.state_dict()
    return {n: (p.full_tensor() if isinstance(p, DTensor) else p).clone() for n, p in state.items()}


def from_checkpoint(directory, options):
    """The parameters of a fresh model, loaded from the newest checkpoint."""
    model, optimizer, _, _ = build(options)
    checkpoint, _ = find_good_checkpoint(directory)
    load_checkpoint(checkpoint, model, optimizer)
    return whole(model)


results = {}
directory = Path(sys.argv[1]).parent / "checkpoints"
for name, options in VARIANTS.items():
    model, optimizer, world, passes = build(options)
    results[name] = run(model, optimizer, world, passes)
    if name == "two copies":
        Saver(directory, CheckpointConfig(), world).save_last(1, model, optimizer, {})
if directory.exists():
    results["checkpoint"] = {
        name: from_checkpoint(directory, VARIANTS[name]) for name in ("plain", "two copies")
    }
    results["checkpoint"]["bytes"] = sum(file.stat().st_size for file in directory.glob("*/*.safetensors"))
if world.is_main:
    torch.save(results, sys.argv[1])
leave(0)
