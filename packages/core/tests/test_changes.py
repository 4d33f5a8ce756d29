"""A changed configuration is told on resume, and refused where the samples would be others."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectranet.train.changes import check_changes, differences, plugin_changes, rank_change
from spectranet.train.checkpoint import Checkpoint, CheckpointError

OLD = {
    "run_dir": "a",
    "train": {"seed": 0, "steps": 10, "slots": 4},
    "data": {"sources": {"pictures": {"path": "x", "weight": 1.0}}},
}


def changed(**train) -> dict:
    return OLD | {"train": OLD["train"] | train}


def told(new: dict) -> list[str]:
    return check_changes(Checkpoint(Path("step-3"), {"step": 3, "config": OLD}), new)


def test_differences_are_named_leaf_by_leaf():
    assert dict(differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3, "d": 4}})) == {
        "a.c": (2, 3),
        "a.d": (None, 4),
    }


def test_what_does_not_touch_the_samples_is_told():
    assert told(changed(steps=20)) == ["changed since that checkpoint: train.steps: 10 -> 20"]


def test_an_unchanged_configuration_in_another_place_says_nothing():
    assert told(OLD | {"run_dir": "b"}) == []


@pytest.mark.parametrize(("ranks", "lines"), [(8, []), (4, ["changed since that checkpoint: ranks: 8 -> 4"])])
def test_another_number_of_ranks_is_told(ranks, lines):
    checkpoint = Checkpoint(Path("step-3"), {"step": 3, "config": OLD, "topology": {"ranks": 8}})
    assert rank_change(checkpoint, ranks) == lines


def test_a_source_may_move():
    moved = OLD | {"data": {"sources": {"pictures": {"path": "y", "weight": 1.0}}}}
    assert told(moved) == ["changed since that checkpoint: data.sources.pictures.path: x -> y"]


@pytest.mark.parametrize(
    "new, line",
    [
        (changed(seed=1), "train.seed: 0 -> 1"),
        (changed(slots=8), "train.slots: 4 -> 8"),
        (OLD | {"data": {"sources": {}}}, "data.sources.pictures"),
        (OLD | {"data": {"sources": {"pictures": {"path": "x", "weight": 2.0}}}}, "weight: 1.0 -> 2.0"),
    ],
)
def test_another_order_of_samples_is_refused_by_name(new, line):
    with pytest.raises(CheckpointError) as caught:
        told(new)
    assert line in str(caught.value) and "another run_dir" in str(caught.value)


def test_other_sources_are_told_where_that_is_accepted_and_another_seed_never_is():
    checkpoint = Checkpoint(Path("step-3"), {"step": 3, "config": OLD})
    heavier = OLD | {"data": {"sources": {"pictures": {"path": "x", "weight": 2.0}}}}
    assert check_changes(checkpoint, heavier, accept_data=True) == [
        "changed since that checkpoint: data.sources.pictures.weight: 1.0 -> 2.0: "
        "from here on the order is another"
    ]
    with pytest.raises(CheckpointError, match="accept_changed_data=true"):
        check_changes(checkpoint, heavier)
    with pytest.raises(CheckpointError) as caught:
        check_changes(checkpoint, changed(seed=1), accept_data=True)
    assert "accept_changed_data" not in str(caught.value)


def test_another_release_of_a_plugin_one_more_and_one_less_are_told():
    def plugin(name: str, version: str) -> dict[str, str]:
        return {"name": name, "distribution": f"acme-{name}", "version": version, "modalities": [name]}

    before = [plugin("lidar", "0.1.0"), plugin("radar", "2.0"), plugin("same", "1.0")]
    now = [plugin("lidar", "0.2.0"), plugin("same", "1.0"), plugin("sonar", "3.0")]
    assert plugin_changes(Checkpoint(Path("step-3"), {"step": 3, "plugins": before}), now) == [
        "changed since that checkpoint: plugin lidar: acme-lidar 0.1.0 -> acme-lidar 0.2.0",
        "changed since that checkpoint: plugin radar: acme-radar 2.0 -> not loaded",
        "changed since that checkpoint: plugin sonar: not loaded -> acme-sonar 3.0",
    ]
