"""Rank script: steps that fail on rank 1 alone, each in another way; argv: RUN_DIR OUT."""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
import toy_run

from spectranet.config.schema import TrainConfig
from spectranet.contracts import Loss
from spectranet.train.distributed import leave
from spectranet.train.faults.finite import FiniteGuard
from spectranet.train.faults.skipped import read_skipped
from spectranet.train.journal.journal import Journal
from spectranet.train.objective_pass import ObjectivePass
from spectranet.train.optimizer import fill_gradients
from spectranet.train.watch.gradient_norms import GradientNorms

run_dir = Path(sys.argv[1])
model, optimizer, world = toy_run.toy_model()
norms = GradientNorms(model, world)
passes = ObjectivePass(model, world, toy_run.COEFFICIENTS)
journal = Journal(run_dir, 100, 0, world)
guard = FiniteGuard(
    run_dir, model, world, journal, TrainConfig(skip_limit=4, seed=5), lambda: "plugins: []\n"
)
told = {}


def state():
    moments = [t for p in model.parameters() for t in optimizer.state[p].values()]
    local = [t.to_local() if hasattr(t, "to_local") else t for t in (*model.parameters(), *moments)]
    return [t.detach().clone() for t in local]


def take(step, batches):
    """As the loop does; whether the step counted, and whether it changed anything at all."""
    before = state()
    losses = passes(batches)
    fill_gradients(model.parameters())
    allowed = guard.allows(step, norms.clip(1.0), losses.sums, batches)
    if allowed:
        optimizer.step()
        model.after_step()
    optimizer.zero_grad()
    same = all(torch.equal(a, b) for a, b in zip(before, state(), strict=True))
    return allowed, same, guard.in_a_row, guard.too_many


def batches_of(step):
    return toy_run.micro_batches(world, 2, seed=step)


told["good"] = take(0, batches_of(0))

spoilt = batches_of(1)
if world.rank == 1:
    spoilt[1].modalities["left"].data["x"][0, :, 0] = float("nan")
told["data"] = take(1, spoilt)

# The loss is infinite and its gradient is finite: nothing but the loss tells.
masked = model.objectives["masked"]
loss = masked.loss


def infinite(states, encoded, batch):
    terms = loss(states, encoded, batch)
    return terms | {"masked.left": Loss(terms["masked.left"].sum + float("inf"), terms["masked.left"].weight)}


if world.rank == 1:
    masked.loss = infinite
told["loss"] = take(2, batches_of(2))
masked.loss = loss

# The loss is finite and one parameter's gradient is not, on one rank.
handle = None
if world.rank == 1:
    handle = masked.heads["left"].out.register_forward_hook(
        lambda module, given, out: out.register_hook(lambda gradient: gradient * float("inf")) and None
    )
told["gradient"] = take(3, batches_of(3))
if handle is not None:
    handle.remove()

if world.is_main:
    (run_dir / "skipped_steps.jsonl").rename(run_dir / "kept.jsonl")
    (run_dir / "skipped_steps.jsonl").mkdir()  # cannot be written, as on a full disk
if world.rank == 1:
    masked.loss = infinite
told["unwritable"] = take(4, batches_of(4))
masked.loss = loss
told["after"] = take(5, batches_of(5))

again = read_skipped(run_dir / "skipped" / "step-00000002").batches[world.rank]
for mine, read in zip(spoilt, again, strict=True):
    assert (mine.keys, mine.source) == (read.keys, read.source)
    assert torch.equal(mine.ids_B, read.ids_B)
    assert list(mine.modalities) == list(read.modalities)
    for name, one in mine.modalities.items():
        for field, value in vars(one).items():
            pairs = value.items() if field == "data" else [(field, value)]
            for key, tensor in pairs:
                theirs = getattr(read.modalities[name], field)
                theirs = theirs[key] if field == "data" else theirs
                assert theirs.dtype == tensor.dtype
                assert torch.equal(theirs.nan_to_num(-7.0), tensor.nan_to_num(-7.0)), (name, field)
Path(f"{sys.argv[2]}.{world.rank}").write_text(json.dumps(told))
leave(0)
