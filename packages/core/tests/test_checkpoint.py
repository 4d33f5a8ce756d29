"""Checkpoints resume exactly, move between numbers of ranks, and are verified before use."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from launch import launch

from spectranet.train.checkpoint import (
    CheckpointError,
    find_good_checkpoint,
    list_checkpoints,
    verify_checkpoint,
)
from spectranet.train.checkpoint.directory import forget

SCRIPT = Path(__file__).parent / "ranks" / "checkpoints.py"


def run(directory: Path, first: int, last: int, ranks: int = 1) -> list[float]:
    out = directory.parent / f"{directory.name}-{first}-{last}.json"
    launch(SCRIPT, directory, first, last, out, ranks=ranks)
    return json.loads(out.read_text())["losses"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A directory with checkpoints of steps 3 and 6, written by two ranks, and the losses."""
    directory = tmp_path_factory.mktemp("run") / "checkpoints"
    return directory, run(directory, 0, 3, ranks=2) + run(directory, 3, 6, ranks=2)


def test_resuming_on_the_same_ranks_is_bit_identical(written, tmp_path):
    assert run(tmp_path / "whole", 0, 6, ranks=2) == written[1]


def test_resuming_on_another_number_of_ranks_goes_on_with_the_same_losses(written, tmp_path):
    directory, losses = written
    moved = tmp_path / "checkpoints"
    moved.mkdir()
    (moved / "step-00000003").symlink_to(directory / "step-00000003")
    assert run(moved, 3, 6, ranks=1) == pytest.approx(losses[3:], rel=1e-5)


@pytest.fixture
def copy(written, tmp_path):
    import shutil

    shutil.copytree(written[0], tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_byte_anywhere_is_found_and_the_older_checkpoint_is_used(copy, seed):
    rng = random.Random(seed)
    newest = list_checkpoints(copy)[-1]
    victim = rng.choice(sorted(p for p in newest.iterdir() if p.suffix == ".safetensors"))
    data = bytearray(victim.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    victim.write_bytes(data)
    good, complaints = find_good_checkpoint(copy)
    assert good is not None and good.step == 3
    assert victim.name in complaints[0] and str(newest) in complaints[0]


@pytest.mark.parametrize("damage", ["truncate", "delete", "extra", "manifest"])
def test_a_partial_checkpoint_is_refused_by_name(copy, damage):
    newest = list_checkpoints(copy)[-1]
    victim = sorted(newest.glob("*.safetensors"))[0]
    if damage == "truncate":
        victim.write_bytes(victim.read_bytes()[:-100])
    elif damage == "delete":
        victim.unlink()
    elif damage == "extra":
        victim = newest / "extra.safetensors"
        victim.write_bytes(b"x")
    else:
        victim = newest / "manifest.json"
        victim.write_text(victim.read_text()[:-20])
    with pytest.raises(CheckpointError, match=victim.name):
        verify_checkpoint(newest)


def test_an_unfinished_checkpoint_is_not_seen(copy):
    (copy / "step-00000009.tmp").mkdir()
    assert [path.name for path in list_checkpoints(copy)] == ["step-00000003", "step-00000006"]


def test_nothing_in_a_checkpoint_is_pickled(copy):
    names = {path.suffix for path in list_checkpoints(copy)[-1].iterdir()}
    assert names == {".safetensors", ".json", ".sha256"}


def test_what_is_forgotten_are_old_checkpoints_and_those_beyond_the_step_just_written(copy):
    (copy / "step-00000001").mkdir()
    (copy / "step-00000002").symlink_to(copy / "step-00000003")
    forget(copy, step=3, keep_last=1)
    assert [path.name for path in list_checkpoints(copy)] == ["step-00000003"]
    assert verify_checkpoint(copy / "step-00000003").step == 3
