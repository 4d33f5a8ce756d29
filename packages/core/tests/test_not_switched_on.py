"""A plugin that brings objectives alone, none of which trains, is told of when a run starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from throwaway import DECLARATIONS, Shelf, shelf_in

from spectranet.config import load_config
from spectranet.train.set_up import _not_switched_on

OBJECTIVE = "@hookimpl\ndef spectranet_objectives():\n    return [objective('order')]\n"
MODALITY = "@hookimpl\ndef spectranet_modalities():\n    return [modality('points')]\n"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    with shelf_in(tmp_path, monkeypatch) as made:
        yield made


def told(*overrides: str) -> list[str]:
    return _not_switched_on(load_config((), overrides, ["lidar"]))


def test_an_objective_that_is_off_is_told_with_how_to_switch_it_on(shelf: Shelf) -> None:
    shelf.put("lidar", DECLARATIONS + OBJECTIVE)

    assert told() == ["warning: plugin 'lidar' trains nothing here until it is told:  'objectives.order={}'"]
    assert told("objectives.order={}") == []


def test_who_brings_more_may_be_loaded_for_that(shelf: Shelf) -> None:
    shelf.put("lidar", DECLARATIONS + OBJECTIVE + MODALITY)

    assert told() == []
