"""How ranks are arranged, what they send each other and what is kept changes no gradient.

The step has three micro-batches: a tower and a weight that only the first of them uses, the weight on one
rank alone. All are real ranks; what they sent is counted as operations of torch's own ``c10d``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from launch import launch

from spectranet.errors import ConfigError
from spectranet.train.parallel.mesh import check_shard_ranks

pytestmark = pytest.mark.slow

RANKS = Path(__file__).parent / "ranks"
SHARDED = ["plain", "kept", "kept, also the graphs"]
COPIED = ["two copies", "two copies, kept", "four copies, also the graphs"]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Ranks -> variant -> what a step gave."""
    folders = {ranks: tmp_path_factory.mktemp(f"ranks{ranks}") for ranks in (1, 4)}
    for ranks, folder in folders.items():
        launch(RANKS / "parallel.py", folder / "out.pt", ranks=ranks)
    return {ranks: torch.load(folder / "out.pt") for ranks, folder in folders.items()}


def worst_error(one, other):
    """Over all parameters, relative to the norm."""
    assert one.keys() == other.keys()
    return max(((one[n] - v).norm() / v.norm().clamp_min(1e-12)).item() for n, v in other.items())


@pytest.mark.parametrize("variant", [*SHARDED, *COPIED])
def test_gradients_are_those_of_one_process_and_of_one_sharded_copy(found, variant):
    gradients = found[4][variant]["gradients"]
    assert worst_error(gradients, found[1]["plain"]["gradients"]) < 1e-6
    assert worst_error(gradients, found[4]["plain"]["gradients"]) < 1e-6
    assert found[4][variant]["norm"] == pytest.approx(found[1]["plain"]["norm"], rel=1e-6)


@pytest.mark.parametrize("variant", [*SHARDED, *COPIED])
def test_three_steps_and_an_evaluation_come_to_the_same_parameters_and_losses(found, variant):
    assert worst_error(found[4][variant]["parameters"], found[4]["plain"]["parameters"]) < 1e-5
    assert found[4][variant]["losses"] == pytest.approx(found[1]["plain"]["losses"], rel=1e-5)


def test_every_parameter_has_a_gradient_also_those_that_only_the_first_micro_batch_uses(found):
    for name, gradient in found[4]["two copies, kept"]["gradients"].items():
        assert gradient.abs().sum() > 0, name


def test_two_copies_in_bf16_have_the_gradients_of_one(found):
    one, two = (found[4][name]["gradients"] for name in ("bf16", "bf16, two copies, kept"))
    assert worst_error(two, one) < 1e-3
    assert 1e-4 < worst_error(one, found[4]["plain"]["gradients"]) < 0.1


@pytest.mark.parametrize("variant", ["selective", "full"])
def test_what_is_recomputed_changes_no_gradient(found, variant):
    assert worst_error(found[1][variant]["gradients"], found[1]["plain"]["gradients"]) < 1e-6


@pytest.mark.parametrize("ranks, copies", [("plain", 0), ("two copies", 1)])
def test_the_loss_over_the_global_batch_reduces_its_scale_and_nothing_else(found, ranks, copies):
    sent = found[4][ranks]["sent for contrast"]
    assert sent["calls"]["reduce_scatter_base"] == 1
    assert sent["elements"]["reduce_scatter_base"] <= 4  # one number, padded to the ranks
    assert sent["calls"].get("allreduce", 0) == copies
    assert sent["elements"].get("allreduce", 0) == copies


@pytest.mark.parametrize("plain, kept", [("plain", "kept"), ("two copies", "two copies, kept")])
def test_kept_weights_are_gathered_once_a_step(found, plain, kept):
    units = 8  # two layers of each tower, two blocks, the scale, the rest
    assert found[4][kept]["sent"]["calls"]["allgather_base"] == units
    assert found[4][plain]["sent"]["calls"]["allgather_base"] > 3 * units
    for sent in ("calls", "elements"):
        reduced = found[4][kept]["sent"][sent]["reduce_scatter_base"]
        assert reduced == found[4][plain]["sent"][sent]["reduce_scatter_base"]


def test_copies_are_reduced_once_a_step_and_not_for_each_micro_batch(found):
    """Besides the units' there is one all-reduce of a step's denominators."""
    units, sent = 8, found[4]["two copies"]["sent"]
    assert sent["calls"]["allreduce"] == units + 1
    elements = sum(p.numel() for p in found[4]["plain"]["parameters"].values())
    assert elements / 2 <= sent["elements"]["allreduce"] <= 1.1 * elements / 2


def test_a_tower_is_reduced_in_the_micro_batches_that_use_it_and_in_no_other(found):
    """Three times all but the tower 'right', that one once, and the scale once, if nothing else is added."""
    parameters = found[4]["plain"]["parameters"]
    layers = sum(p.numel() for n, p in parameters.items() if n.startswith("encoders.right.layers"))
    elements = sum(p.numel() for p in parameters.values())
    reduced = found[4]["plain"]["sent"]["elements"]["reduce_scatter_base"]
    least = 3 * (elements - layers) + layers
    root = sum(p.numel() for n, p in parameters.items() if ".layers." not in n and ".blocks." not in n)
    # The root is reduced once more where a graph of pass 1 is used in pass 2; shards are padded.
    assert least <= reduced <= 1.05 * least + 1.2 * root


def test_a_checkpoint_of_two_copies_holds_one_and_loads_on_any_mesh(found):
    """Three numbers of four bytes for each parameter, besides the files' headers."""
    trained, loaded = found[4]["two copies"]["parameters"], found[4]["checkpoint"]
    for name in ("plain", "two copies"):
        assert all(torch.equal(loaded[name][n], p) for n, p in trained.items())
    assert loaded["bytes"] < 1.5 * 12 * sum(p.numel() for p in trained.values())


def test_ranks_that_cannot_be_cut_into_copies_are_refused_with_what_can():
    check_shard_ranks(8, None)
    check_shard_ranks(8, 2)
    with pytest.raises(ConfigError, match=r"train.shard_ranks = 3 does not divide the 8 ranks") as refused:
        check_shard_ranks(8, 3)
    assert "one of 1, 2, 4, 8; to shard over all of them:  train.shard_ranks=null" in str(refused.value)
