"""bf16 on one rank, without sharding: what FSDP would have computed."""

from __future__ import annotations

import pytest
import torch
from toy_run import COEFFICIENTS, gradients, micro_batches, toy_model

from spectranet.train.objective_pass import ObjectivePass
from spectranet.train.parallel import parallelize


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
