"""bf16 on one rank, without sharding: what FSDP would have computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from toy_run import COEFFICIENTS, gradients, micro_batches, toy_model

from spectranet.plan.meter import Meter
from spectranet.train.objective_pass import ObjectivePass
from spectranet.train.parallel import parallelize
from spectranet.train.parallel.recompute import recompute_activations
from spectranet.train.parallel.step_dtype import cast_block


def one_step(**train):
    model, _, world = toy_model(precision="bf16", **train)
    passes = ObjectivePass(model, world, COEFFICIENTS)
    losses = passes(micro_batches(world, 2)).reduce(world, passes.term_coefficients)
    return losses, gradients(model), model


@pytest.fixture
def sharded(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(parallelize, "needs_sharding", lambda config, world: True)
        return one_step()[:2]


@pytest.mark.parametrize("checkpointing", ["none", "selective", "full"])
def test_losses_and_gradients_are_those_of_fsdp(sharded, checkpointing):
    losses, found, _ = one_step(activation_checkpointing=checkpointing)
    assert losses == pytest.approx(sharded[0], rel=1e-6)
    assert found.keys() == sharded[1].keys()
    for name, expected in sharded[1].items():
        assert found[name].dtype == torch.float32, name
        assert (found[name] - expected).norm() <= 1e-6 * expected.norm(), name


def test_parameters_stay_in_fp32_and_are_seen_again_after_the_step():
    _, _, model = one_step()
    linear = model.encoders["left"].embed
    assert linear.weight is linear._parameters["weight"]
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("checkpointing, bytes_each", [("none", 2.0), ("selective", 0.0), ("full", 0.0)])
def test_copies_in_bf16_outlive_the_forward_only_where_nothing_is_recomputed(checkpointing, bytes_each):
    with Meter() as meter:
        blocks = nn.Sequential(*(nn.Linear(256, 256) for _ in range(8)))
        meter.watch(blocks.parameters())
        for block in blocks:
            cast_block(block, torch.bfloat16)
            recompute_activations(block, checkpointing)
        before = meter.alive
        answer = blocks(torch.ones(1, 256, requires_grad=True))
        held = (meter.alive - before) / sum(p.numel() for p in blocks.parameters())
        answer.sum().backward()
    assert held == pytest.approx(bytes_each, abs=0.1)
