"""Plugins that were there once, or differ between ranks, are told with what brings them back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spectranet.config.remembered import plugins_of_run
from spectranet.errors import PluginError
from spectranet.plugin_discovery import Remembered
from spectranet.plugin_messages import differ_between_ranks
from spectranet.plugins import PluginHost

LIDAR = {"name": "lidar", "distribution": "acme-lidar", "version": "0.4.1", "api": 1}


def checkpoint(run: Path, step: int, manifest: str) -> str:
    folder = run / "checkpoints" / f"step-{step:08}"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(manifest)
    return str(folder)


def test_the_newest_checkpoint_that_can_be_read_says_what_it_was_trained_with(tmp_path: Path) -> None:
    good = checkpoint(tmp_path, 2, json.dumps({"plugins": [LIDAR]}))
    checkpoint(tmp_path, 1, json.dumps({"plugins": [LIDAR | {"version": "0.1.0"}]}))
    checkpoint(tmp_path, 3, "{ cut off")
    checkpoint(tmp_path, 4, json.dumps({"plugins": [{"name": "lidar"}]}))
    checkpoint(tmp_path, 5, "[]")

    assert plugins_of_run(str(tmp_path)) == {"lidar": Remembered("acme-lidar", "0.4.1", good)}


def test_no_run_remembers_nothing(tmp_path: Path) -> None:
    assert plugins_of_run(str(tmp_path / "none")) == {}


def test_what_is_remembered_is_asked_only_for_names_that_are_missing() -> None:
    def ask() -> dict[str, Remembered]:
        raise AssertionError("nothing is missing")

    PluginHost.load([], remembered=ask)
    with pytest.raises(PluginError) as caught:
        PluginHost.load(
            ["lidar-x"], remembered=lambda: {"lidar-x": Remembered("acme-lidar", "0.4.1", "runs/a")}
        )
    assert str(caught.value) == (
        "plugin 'lidar-x' is not installed; runs/a was trained with it (acme-lidar 0.4.1).\n"
        "  install it:  python -m pip install acme-lidar==0.4.1"
    )


def test_of_many_ranks_the_first_is_named_and_how_many_there_are() -> None:
    differing = {
        "audio": {"": [0], "spectranet-audio 0.1.1": list(range(1, 64))},
        "lidar": {"acme-lidar 0.4.1": list(range(62)), "acme-lidar 0.5.0": [62, 63]},
    }

    assert differ_between_ranks(differing).splitlines() == [
        "ranks have loaded different plugins:",
        "  audio  not loaded              on rank 0",
        "  audio  spectranet-audio 0.1.1  on 63 ranks from 1 on",
        "  lidar  acme-lidar 0.4.1        on 62 ranks from 0 on",
        "  lidar  acme-lidar 0.5.0        on ranks 62, 63",
        "  install the same on every machine:  python -m pip install spectranet-audio==0.1.1",
    ]
