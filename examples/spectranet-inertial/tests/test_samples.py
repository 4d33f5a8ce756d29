"""The simulated pairs: the same for the same seed, and nobody is on both sides."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from spectranet_inertial.recording import decode
from spectranet_inertial.samples import example, scenes, write_samples

PEOPLE, HELD_OUT = 2, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("samples")
    write_samples(folder, PEOPLE, HELD_OUT)
    return folder


def rows(folder: Path, split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]


def test_people_are_on_one_side_only(folder: Path) -> None:
    train, held_out = ({row["person"] for row in rows(folder, split)} for split in ("train", "held_out"))

    assert len(train) == PEOPLE and len(held_out) == HELD_OUT and not train & held_out


def test_every_scene_is_trained_on_by_everybody_and_held_out_once(folder: Path) -> None:
    assert len(rows(folder, "train")) == PEOPLE * len(scenes())
    assert len(rows(folder, "held_out")) == len(scenes()) == len(set(scenes()))
    assert len({row["text"] for row in rows(folder, "held_out")}) == len(scenes())


def test_every_file_can_be_read_and_both_formats_occur(folder: Path) -> None:
    names = [row["inertial"] for split in ("train", "held_out") for row in rows(folder, split)]
    rates = {round(decode((folder / name).read_bytes()).rate_hz(unsaid_hz=50)) for name in names}

    assert {Path(name).suffix for name in names} == {".csv", ".npy"}
    assert rates == {50, 64, 100}


def test_the_same_seed_writes_the_same_files(folder: Path, tmp_path: Path) -> None:
    write_samples(tmp_path, PEOPLE, HELD_OUT)

    for path in sorted(folder.rglob("*.*")):
        assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes(), path


def test_a_person_moves_the_same_whoever_else_is_there(folder: Path, tmp_path: Path) -> None:
    write_samples(tmp_path, people=1, held_out=1)

    assert rows(tmp_path, "train")[5] == rows(folder, "train")[5]


def test_examples_differ() -> None:
    lengths = {len(decode(example(np.random.default_rng(seed))).signal_TC) for seed in range(5)}

    assert len(lengths) > 1
