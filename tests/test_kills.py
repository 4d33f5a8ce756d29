"""A run of two ranks is killed at random moments, one rank or both: it goes on as if nothing had happened.

The harness is in ``kills/``; ``kills/storm.py`` kills as often as it is told to.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "kills"))
from life import TorchrunLife
from storm import Storm
from verdict import checkpoints, complaints_about_life, complaints_about_run, incomplete, samples_differ

from spectranet.train.checkpoint.directory import forget

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),  # two minutes on a quiet machine; many processes are the first to feel others
]


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storm]:
    """Its runs have 24 steps, a checkpoint every second step, and data workers or none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield Storm(tmp_path_factory.mktemp("storm"))


def test_after_twenty_kills_samples_losses_and_weights_are_those_of_a_run_that_nobody_touched(storm):
    tally = storm.rage(20)
    assert tally.inside_saves >= 5


def test_kills_under_torchrun_do_no_harm_either(storm):
    tally = storm.rage(2, TorchrunLife)
    assert tally.kills.total() >= 2  # and one more for each that was to fall inside a save and came too late


def test_on_two_one_three_and_four_ranks_in_turn_samples_are_the_same_and_losses_to_rounding(storm, tmp_path):
    assert storm.migrate(tmp_path / "run", [2, 1, 3, 4]) < 1e-4


def test_a_sample_that_is_lost_repeated_or_exchanged_is_noticed(storm):
    step = max(storm.expected)
    assert samples_differ([storm.expected], storm.expected) == []
    assert samples_differ([storm.expected, {step: {}}], storm.expected)[0].startswith(f"step {step}: lost")
    assert samples_differ([storm.expected, {step + 1: {0: "pictures:0"}}], storm.expected)
    exchanged = storm.expected[step] | {0: storm.expected[step][1]}
    assert samples_differ([storm.expected, {step: exchanged}], storm.expected)
    assert samples_differ([{step: exchanged}, storm.expected], storm.expected) == []


def test_a_life_that_goes_on_elsewhere_than_at_its_newest_checkpoint_is_noticed():
    assert complaints_about_life([4, 5, 6], [2, 4], "") == []
    assert complaints_about_life([2, 3], [2, 4], "") != []
    assert complaints_about_life([5, 6], [2, 4], "") != []
    assert complaints_about_life([4, 6], [2, 4], "") != []
    assert complaints_about_life([4], [2, 4], "warning: checkpoint x: manifest.json cannot be read") != []


def test_a_deletion_that_is_cut_short_leaves_nothing_under_the_name_of_a_checkpoint(
    storm, tmp_path, monkeypatch
):
    run = shutil.copytree(storm.untouched, tmp_path / "copy")
    newest = max((run / "checkpoints").iterdir())
    shutil.copytree(newest, newest.with_name("step-00000020"))

    def one_file(path: Path, ignore_errors: bool = False) -> None:
        for file in sorted(path.glob("*"))[:1]:
            file.unlink()

    monkeypatch.setattr(shutil, "rmtree", one_file)
    forget(run / "checkpoints", storm.steps, keep_last=1)
    assert incomplete(run) == []
    assert checkpoints(run) == [storm.steps]
    lost = min(newest.glob("*.safetensors"))
    lost.unlink()
    assert incomplete(run) == [f"{newest} lacks {lost.name}"]


def test_another_loss_failure_or_weight_is_noticed(storm, tmp_path):
    def copy() -> Path:
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        return shutil.copytree(storm.untouched, tmp_path / "copy")

    assert complaints_about_run(copy(), storm.untouched) == []

    run = copy()
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([*lines[:3], *lines[4:]]))
    assert "another record" in complaints_about_run(run, storm.untouched)[0]
    record = json.loads(lines[3])
    lines[3] = json.dumps(record | {"loss": record["loss"] * (1 + 1e-15)})
    (run / "metrics.jsonl").write_text("\n".join(lines))
    assert "another record" in complaints_about_run(run, storm.untouched)[0]

    run = copy()
    with (run / "failures" / "rank-0.jsonl").open("a") as file:
        file.write("{}\n")
    assert complaints_about_run(run, storm.untouched) == ["other lines in failures/"]

    run = copy()
    newest = max((run / "checkpoints").iterdir())
    path = max(newest.rglob("*.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    newest.with_name("step-00000030.tmp").mkdir()
    odd, left = complaints_about_run(run, storm.untouched)
    assert (
        odd.startswith("1 tensors of the last checkpoint differ") and left == "left behind: step-00000030.tmp"
    )
