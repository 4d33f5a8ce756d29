"""Checkpoints resume exactly, move between numbers of ranks, and are verified before use."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import toy_run
from launch import launch

from spectranet.train.checkpoint import (
    CheckpointError,
    find_good_checkpoint,
    list_checkpoints,
    load_checkpoint,
    verify_checkpoint,
)
from spectranet.train.checkpoint.directory import forget
from spectranet.train.checkpoint.shards import Shard, cut, shards_to_write
from spectranet.train.checkpoint.verify import _share

RANKS = Path(__file__).parent / "ranks"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Checkpoints of steps 3 and 6, written by two ranks that never stopped, and what they found."""
    directory = tmp_path_factory.mktemp("run") / "checkpoints"
    launch(RANKS / "checkpoints.py", directory, directory.parent / "out.json", ranks=2)
    return directory, json.loads((directory.parent / "out.json").read_text())


@pytest.fixture(scope="module")
def gone_on(written, tmp_path_factory):
    """What two ranks found that went on from step 3, since that of step 6 is damaged where rank 0 reads."""
    directory = tmp_path_factory.mktemp("again") / "checkpoints"
    shutil.copytree(written[0], directory)
    newest = list_checkpoints(directory)[-1]
    files = verify_checkpoint(newest).manifest["files"]
    (victim,) = _share(files, 0, 2)
    flip(newest / victim, files[victim]["bytes"] - 1)
    launch(RANKS / "go_on.py", directory, directory.parent / "out.json", ranks=2)
    return victim, json.loads((directory.parent / "out.json").read_text())


@pytest.fixture
def copy(written, tmp_path):
    shutil.copytree(written[0], tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


def flip(path: Path, index: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[index] ^= 1 << bit
    path.write_bytes(data)


def test_resuming_on_the_same_ranks_is_bit_identical(written, gone_on):
    assert gone_on[1]["losses"] == written[1]["losses"][3:]


def test_resuming_on_another_number_of_ranks_goes_on_with_the_same_losses(written):
    model, optimizer, world = toy_run.toy_model()
    load_checkpoint(verify_checkpoint(written[0] / "step-00000003"), model, optimizer)
    losses = toy_run.train_steps(model, optimizer, world, range(3, 6))
    assert losses == pytest.approx(written[1]["losses"][3:], rel=1e-5)


def test_what_one_rank_reads_and_finds_damaged_no_rank_goes_on_from(gone_on):
    victim, found = gone_on
    assert found["step"] == 3
    (complaint,) = found["complaints"]
    assert victim in complaint and "step-00000006" in complaint and "SHA-256 differs" in complaint


def test_ranks_share_the_bytes_to_verify():
    files = {f"rank-{i}.safetensors": {"bytes": 100 + i} for i in range(5)}
    shares = [_share(files, rank, 2) for rank in range(2)]
    assert sorted(name for share in shares for name in share) == sorted(files)
    assert abs(len(shares[0]) - len(shares[1])) <= 1


def test_the_newest_stay_and_those_of_every_so_many_steps(gone_on):
    assert gone_on[1]["kept"] == ["step-00000020", "step-00000040"]


def test_a_save_that_fails_on_one_rank_is_told_dropped_and_tried_again_soon(gone_on):
    found = gone_on[1]
    assert found["kept while full"] == ["step-00000020", "step-00000040"]
    tried = [warning.split(" could not")[0].split()[-1] for warning in found["warnings"]]
    assert tried == ["50", "51", "53"]
    assert found["saved"] == [10, 20, 30, 40, 57]
    assert found["kept after"] == ["step-00000020", "step-00000040", "step-00000057"]


def test_the_warning_says_who_what_how_much_and_what_to_do(written, gone_on):
    # Rank 0 tells it; every rank comes to the same words but those that only it can know.
    said = gone_on[1]["warnings"][0]
    assert "rank 1: File too large" in said and "rank-00001-000.safetensors" in said
    assert "it needs 0." in said and "MiB in " in said and "GiB are free" in said
    assert "the newest checkpoint is of step 40" in said
    assert "train.checkpoint.keep_last" in said


def test_a_last_state_that_cannot_be_saved_ends_the_run_with_its_own_code(gone_on):
    assert gone_on[1]["code"] == 74
    assert "the state after step 59 could not be saved in 2 attempts" in gone_on[1]["lost"]
    assert "the newest checkpoint is of step 57" in gone_on[1]["lost"]


def test_a_save_under_way_when_an_error_ends_the_ranks_is_named_complete_without_a_collective_call(gone_on):
    assert gone_on[1]["left alone"] == ["step-00000007"]
    names = [f"rank-0000{rank}-000.safetensors" for rank in range(2)]
    assert sorted(gone_on[1]["saved alone"]) == ["manifest.json", "manifest.sha256", *names]


def test_of_replicas_one_is_written(gone_on):
    assert gone_on[1]["replicas"] == ["manifest.json", "manifest.sha256", "rank-00000-000.safetensors"]


def test_what_no_step_has_used_is_saved_with_the_rest(written):
    """``model``, ``exp_avg`` and ``exp_avg_sq`` of every parameter, used by a step or not."""
    stored = verify_checkpoint(written[0] / "step-00000003").manifest
    trained = set(stored["optimizer_steps"])
    assert {name.partition(".")[2] for name in stored["tensors"]} >= trained
    for moment in ("model", "exp_avg", "exp_avg_sq"):
        assert trained <= {name.removeprefix(f"{moment}.") for name in stored["tensors"]}


@pytest.mark.parametrize("damage", ["delete", "extra", "link"])
def test_a_partial_checkpoint_is_refused_by_name(copy, damage):
    newest = list_checkpoints(copy)[-1]
    victim = sorted(newest.glob("*.safetensors"))[0]
    if damage == "delete":
        victim.unlink()
    elif damage == "extra":
        victim = newest / "extra.safetensors"
        victim.write_bytes(b"x")
    else:
        moved = victim.rename(newest.parent / "elsewhere")
        victim.symlink_to(moved)
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


def test_a_wrong_byte_in_what_is_found_is_not_gone_on_from(copy):
    newest = list_checkpoints(copy)[-1]
    flip(sorted(newest.glob("*.safetensors"))[1], 4000)
    good, (complaint,) = find_good_checkpoint(copy)
    assert good is not None and good.step == 3 and str(newest) in complaint


def test_large_states_are_cut_into_files_that_are_read_at_once():
    shards = [Shard(str(size), torch.zeros(size // 4), (0,)) for size in (400, 400, 400, 4000, 40)]
    sizes = [[shard.bytes for shard in file] for file in cut(shards, 1000)]
    assert sizes == [[400, 400], [400], [4000], [40]]


def test_a_tensor_that_safetensors_cannot_hold_is_named():
    with pytest.raises(CheckpointError, match=r"(?s)model\.phase is of torch\.complex64.*persistent=False"):
        shards_to_write({"model.phase": torch.zeros(2, dtype=torch.complex64)}, rank=0)
