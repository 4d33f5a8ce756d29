"""First weights are a function of (seed, part), whatever else was drawn or built."""

from __future__ import annotations

import pytest
import torch
from toy import ToyEncoder

from spectranet.model.initialise import materialise


def weights(seed: int, name: str = "encoders.toy") -> torch.Tensor:
    with torch.device("meta"):
        encoder = ToyEncoder(16)
    materialise(encoder, name, seed, torch.device("cpu"))
    return encoder.embed.weight.detach()


def test_weights_follow_seed_and_name_alone():
    first = weights(3)
    torch.randn(5)
    assert weights(3).equal(first)
    assert not weights(3, "encoders.other").equal(first)


@pytest.mark.parametrize("seed", [1, 2, 2**31, 2**32 - 1, -1])
def test_another_seed_gives_other_weights(seed):
    """The generator of the CPU keeps only 32 bits of what it is seeded with."""
    assert not weights(seed).equal(weights(0))


def test_what_others_draw_next_is_not_disturbed():
    torch.manual_seed(0)
    expected = torch.randn(3)
    torch.manual_seed(0)
    weights(7)
    assert torch.randn(3).equal(expected)
