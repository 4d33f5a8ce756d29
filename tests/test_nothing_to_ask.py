"""A batch that leaves an objective nothing to ask counts zero, not NaN: on one rank of two, and on both.

Real modalities and all four objectives; what is left of the step is what one process computes by hand.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from launch import launch

pytestmark = pytest.mark.slow

WITHOUT = {
    "nothing_hidden": "mmm.",
    "nothing_valid_hidden": "mmm.",
    "one_token": "captioning.",
    "ended_after_one_token": "captioning.",
    "one_segment": "temporal.",
    "no_segment": "temporal",
    "everything": ("mmm.", "captioning.", "temporal"),
}
"""What empties a batch -> the terms that are gone where both ranks are empty."""


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, tuple[dict[str, float], float]]:
    out = tmp_path_factory.mktemp("nothing") / "found.json"
    launch(Path(__file__).parent / "nothing_to_ask.py", out, ranks=2)
    return json.loads(out.read_text())


@pytest.mark.parametrize("where", ["one", "both"])
@pytest.mark.parametrize("case", WITHOUT)
def test_losses_are_finite_and_the_gradient_is_that_of_what_is_left(found, case, where):
    losses, error = found[f"{case} on {where}"]
    assert losses and all(math.isfinite(value) for value in losses.values()), losses
    assert any(name.startswith("loss/contrastive.") for name in losses)
    assert error < 1e-5
    gone = [name for name in losses if name.removeprefix("loss/").startswith(WITHOUT[case])]
    assert bool(gone) == (where == "one"), losses
