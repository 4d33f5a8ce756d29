"""Norms of the gradient, by part and over all ranks, are those of the whole tensors."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from launch import launch

RANKS = Path(__file__).parent / "ranks"
KIND = {"trunks": "trunk", "encoders": "encoder", "objectives": "objective"}


@pytest.fixture(scope="module", params=[1, 2], ids=["one rank", "two ranks"])
def meshes(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("norms") / "found.pt"
    launch(RANKS / "gradient_norms.py", out, ranks=request.param)
    return torch.load(out, weights_only=True)


@pytest.fixture(params=[None, 1], ids=["sharded", "replicated"])
def found(request, meshes):
    return meshes[request.param]


def part_of(parameter: str) -> str:
    kind, name, *_ = parameter.split(".")
    return f"{KIND[kind]}.{name}" if kind in KIND else kind


def norm(gradients) -> float:
    return math.sqrt(sum(g.double().square().sum().item() for g in gradients))


def test_every_part_has_the_norm_of_its_whole_gradients(found):
    expected: dict[str, list] = {}
    for name, gradient in found["before"].items():
        expected.setdefault(part_of(name), []).append(gradient)
    assert found["by_part"].keys() == expected.keys()
    for part, gradients in expected.items():
        assert found["by_part"][part] == pytest.approx(norm(gradients), rel=1e-5), part
    assert found["total"] == pytest.approx(norm(found["before"].values()), rel=1e-5)


def test_clipping_scales_all_of_the_gradient_to_the_limit_and_no_less(found):
    factor = 0.1 / found["total"]
    for name, gradient in found["after"].items():
        torch.testing.assert_close(gradient, found["before"][name] * factor, rtol=1e-4, atol=1e-9)
    assert found["unclipped"] == pytest.approx(0.1, rel=1e-4)
    for name, gradient in found["unchanged"].items():
        assert gradient.equal(found["after"][name]), name


def test_one_number_that_is_none_on_one_rank_spoils_the_norm_on_all(found):
    assert math.isnan(found["spoilt"])


def test_a_gradient_that_is_not_finite_is_left_as_it_is(found):
    """Infinity times the zero that would bring it to the limit is no number, and the rest would be zero."""
    assert found["infinite"] == math.inf
    for name, gradient in found["not clipped"].items():
        if name == "memory.null":
            assert gradient.isinf().any() and not gradient.isnan().any()
        else:
            assert gradient.equal(found["unchanged"][name]), name
