"""Blocks that are compiled one by one give the gradients of those that are not, on two real ranks.

``aot_eager`` traces, cuts and differentiates programs as any backend does and leaves out code generation,
which takes minutes on a CPU and cannot break a graph.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from launch import launch

RANKS = Path(__file__).parent / "ranks"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Activation checkpointing, or eager -> gradients of steps, graphs by then, graph breaks."""
    out = tmp_path_factory.mktemp("compiled") / "out.pt"
    launch(RANKS / "compiled.py", out, "aot_eager", ranks=2, timeout_s=400)
    return torch.load(out)


@pytest.mark.parametrize("checkpointing", ["none", "selective"])
def test_compiled_blocks_give_the_gradients_of_eager_ones(found, checkpointing):
    assert found[checkpointing]["breaks"] == {}
    assert found[checkpointing]["graphs"][0] > 0
    for one, eager in zip(found[checkpointing]["gradients"], found["eager"]["gradients"], strict=True):
        for name, gradient in eager.items():
            assert (one[name] - gradient).norm() <= 1e-6 * gradient.norm(), name


@pytest.mark.parametrize("checkpointing", ["none", "selective"])
def test_a_new_size_of_the_batch_is_no_new_program(found, checkpointing):
    """Steps of 4, 8, 2, 1 and 4 samples a micro-batch: only the single sample is another program."""
    first, *_, before_one, one, last = found[checkpointing]["graphs"]
    assert first == before_one
    assert one <= 2 * first
    assert last == one
