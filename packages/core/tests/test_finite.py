"""A step that is not finite on one of two ranks changes nothing on either, and is written down whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from launch import launch

from spectranet.errors import DataError
from spectranet.train.faults.skipped import read_skipped

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent / "ranks" / "finite.py"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finite")
    launch(SCRIPT, folder / "run", folder / "told", ranks=2)
    return folder


@pytest.fixture(scope="module")
def told(run) -> dict[str, list]:
    first, second = (json.loads((run / f"told.{rank}").read_text()) for rank in range(2))
    assert first == second
    return first


def test_a_good_step_counts(told):
    assert told["good"] == [True, False, 0, False]


@pytest.mark.parametrize(("case", "in_a_row"), [("data", 1), ("loss", 2), ("gradient", 3), ("unwritable", 4)])
def test_weights_and_moments_are_bit_for_bit_as_before_and_skips_are_counted(told, case, in_a_row):
    assert told[case] == [False, True, in_a_row, in_a_row == 4]


def test_a_good_step_afterwards_counts_and_ends_the_row(told):
    assert told["after"] == [True, False, 0, False]


def test_the_terms_and_parameters_that_were_not_finite_are_named_with_the_samples(told, run):
    lines = [json.loads(line) for line in (run / "run" / "kept.jsonl").read_text().splitlines()]
    data, loss, gradient = lines
    assert [each["step"] for each in lines] == [2, 3, 4]
    assert data["ranks"][0]["terms"] == ["pair.left-right"]  # over the global batch: on every rank
    assert data["ranks"][1]["terms"] == ["masked.left", "masked.right", "pair.left-right"]
    assert [rank["terms"] for rank in loss["ranks"]] == [[], ["masked.left"]]
    assert [rank["terms"] for rank in gradient["ranks"]] == [[], []]
    assert gradient["gradients"]["objectives.masked"] == [
        *("objectives.masked.mask.left", "objectives.masked.mask.right"),
        *("objectives.masked.heads.left.out.weight", "and 1 more"),
    ]
    assert "objectives.pair" not in gradient["gradients"]
    keys = [[part["keys"] for part in rank["micro_batches"]] for rank in data["ranks"]]
    assert keys == [
        [["0", "1", "2", "3"], ["4", "5", "6", "7"]],
        [["8", "9", "10", "11"], ["12", "13", "14", "15"]],
    ]


def test_the_first_few_are_kept_whole_and_can_be_read_again(told, run):
    kept = sorted(path.name for path in (run / "run" / "skipped").iterdir())
    assert kept == ["step-00000002", "step-00000003", "step-00000004"]
    step = read_skipped(run / "run" / "skipped" / "step-00000003")
    assert (step.step, step.facts["seed"], len(step.batches)) == (3, 5, 2)
    assert {path.suffix for path in step.path.iterdir()} == {".safetensors", ".json", ".yaml"}


def test_what_happened_is_told(told, run):
    events = [json.loads(line) for line in (run / "run" / "events.jsonl").read_text().splitlines()]
    texts = [each["text"].splitlines()[0] for each in events if each["kind"] == "skipped"]
    assert texts[1] == "step 3 is skipped (2 in a row): loss masked.left is not finite on rank 1"
    assert texts[2].startswith("step 4 is skipped (3 in a row): the loss is finite, the gradient is not, of ")
    assert len(texts) == 4


def test_a_damaged_or_missing_step_is_refused_by_name(tmp_path, run):
    with pytest.raises(DataError, match=r"is no skipped step: its step\.json cannot be read"):
        read_skipped(tmp_path)
    step = run / "run" / "skipped" / "step-00000004"
    file = step / "rank-00001.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"rank-00001\.safetensors is not what was written"):
        read_skipped(step)
