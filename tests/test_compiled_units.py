"""The units that plugins bring can be compiled without a graph break, and compute the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from spectranet.config import load_config
from spectranet.model.build import select_parts
from spectranet.plan.batches import largest_batch
from spectranet.train.distributed import start_world
from spectranet.train.objective_pass import ObjectivePass
from spectranet.train.parallel.parallelize import build_sharded

pytestmark = pytest.mark.slow

SOURCES = ["data.sources.clips.modalities=[video,audio,text]"]


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compilation up to code generation, which takes minutes on a CPU and cannot break a graph."""
    compile_module = nn.Module.compile

    def compile_without_code(module: nn.Module, **options: Any) -> None:
        compile_module(module, backend="aot_eager", **options)

    monkeypatch.setattr(nn.Module, "compile", compile_without_code)
    torch.compiler.reset()
    counters.clear()


def gradients(compiled: bool) -> dict[str, torch.Tensor]:
    """Of two steps, of two and of three samples."""
    resolved = load_config(["tiny"], SOURCES, None)
    config = replace(resolved.config, train=replace(resolved.config.train, compile=compiled))
    parts = select_parts(config, resolved.host.modalities, resolved.host.objectives)
    world = start_world("cpu", 1)
    model = build_sharded(config, parts, world)
    passes = ObjectivePass(model, world, dict.fromkeys(model.objectives, 1.0))
    for size in (2, 3):
        passes([largest_batch(config, parts.modalities, "clips", size)])
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_units_of_all_modalities_compile_whole_and_compute_the_same(traced: None) -> None:
    eager, compiled = gradients(compiled=False), gradients(compiled=True)
    assert counters["stats"]["unique_graphs"] > 3
    assert not counters["graph_break"]
    assert compiled.keys() == eager.keys()
    for name, gradient in eager.items():
        assert (compiled[name] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-9, name
