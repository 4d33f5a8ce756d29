"""Ranks that are about to take different steps are told, by name, what differs; on real processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from launch import launch

from spectranet.train.faults.lockstep import _all_same, _hashes

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent / "ranks" / "lockstep.py"


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("lockstep") / "told"
    launch(SCRIPT, out, ranks=3)
    first, *others = (json.loads(Path(f"{out}.{rank}").read_text()) for rank in range(3))
    assert others == [first, first]  # every rank comes to the same error
    return first


@pytest.mark.parametrize("case", ["none", "lengths", "after"])
def test_ranks_in_step_go_on_also_where_one_has_nothing_hidden(told, case):
    assert told[case] == ""


@pytest.mark.parametrize(
    ("case", "odd", "difference"),
    [
        ("source", 1, "micro-batch 1, source: 'clips' on rank 1, 'toy' on rank 0"),
        (
            "modality",
            0,
            "micro-batch 1, modality 'right' (plugin 'right-plugin'): not there on rank 0, "
            "x torch.float32 of 3 dimensions, 1 coordinates on rank 1",
        ),
        (
            "shape",
            2,
            "micro-batch 0, modality 'left' (plugin 'left-plugin'): x torch.float32 of 4 dimensions, "
            "1 coordinates on rank 2, x torch.float32 of 3 dimensions, 1 coordinates on rank 0",
        ),
        ("samples", 1, "micro-batch 0, samples: 1 on rank 1, 2 on rank 0"),
        ("micro-batches", 1, "micro-batches: 1 on rank 1, 2 on rank 0"),
        ("step", 2, "step: 8 on rank 2, 7 on rank 0"),
    ],
)
def test_the_odd_rank_is_named_and_what_differs(told, case, odd, difference):
    head, *rows = told[case].splitlines()
    assert head == f"ranks are out of step in step 7: rank {odd} against 2 of 3."
    assert f"  {difference}" in rows
    assert rows[-1].startswith("  compare plugins, data and library versions on the machines:")


def test_objectives_with_other_terms_are_told_before_the_first_step(told):
    head, row, *_ = told["terms"].splitlines()
    assert head == "ranks are out of step before the first step: rank 1 against 2 of 3."
    assert row == (
        "  objective 'masked' (plugin 'masked-plugin'): terms masked.left, masked.right, masked.depth over "
        "micro-batches on rank 1, terms masked.left, masked.right over micro-batches on rank 0"
    )


def test_the_sums_are_exact_at_8192_ranks_of_the_largest_hashes():
    largest = float(2**20 - 1)
    whole = [8192 * largest, 8192 * largest**2]
    assert _all_same(whole, 8192)
    assert whole[1] < 2**53
    one_less = [whole[0] - 1, whole[1] - largest**2 + (largest - 1) ** 2]
    assert not _all_same(one_less, 8192)


def test_hashes_are_integers_of_20_bits_with_their_squares():
    seen = {tuple(_hashes(str(i).encode())) for i in range(1000)}
    assert len(seen) == 1000
    for a, a2, b, b2 in seen:
        assert 0 <= a < 2**20 and 0 <= b < 2**20
        assert (a2, b2) == (a * a, b * b)
