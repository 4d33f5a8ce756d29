"""The first fault of a step that is not finite is named where a loss over the global batch makes it."""

from __future__ import annotations

import torch
from toy_run import COEFFICIENTS, micro_batches, toy_model

from spectranet.train.faults.first_fault import FirstFault
from spectranet.train.objective_pass import ObjectivePass


def faults_with_a_scale_of(log: float) -> list[str]:
    model, _, world = toy_model()
    with torch.no_grad():
        model.objectives["pair"].scale.log.fill_(log)
    finder = FirstFault(model)
    try:
        ObjectivePass(model, world, COEFFICIENTS)(micro_batches(world, 2))
    finally:
        finder.remove()
    return [str(fault) for fault in finder.forward]


def test_a_loss_over_the_global_batch_is_named_after_the_module_that_spoilt_it() -> None:
    first, second, *_ = faults_with_a_scale_of(1e4)
    assert "objectives.pair.scale" in first and "infinite" in first
    assert "pair.left-right" in second and "of the loss is nan" in second


def test_a_finite_step_has_no_fault() -> None:
    assert faults_with_a_scale_of(1.0) == []
