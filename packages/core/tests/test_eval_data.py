"""Evaluation reads every row once, in order; bad samples are left out, with several ranks by all of them."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from launch import launch
from numbers_modality import numbers
from toy import FEATURES, TOKENS

from spectranet import ConfigError, DataError
from spectranet.config import Config, DataConfig, EvalConfig, SourceConfig
from spectranet.data.loader import EvalData
from spectranet.data.readers import readers

ROWS = 30


def held_out(folder: Path, *, bad: int = 0, **options) -> EvalData:
    """``all`` rows of a manifest, of which row i starts with i, and every second as ``tests``.

    The first ``bad`` cannot be used: gone, undecodable or without a token.
    """
    rows = []
    for i in range(ROWS):
        numbers_of_row = ",".join(str(i + j) for j in range(1 + i % 5))
        if i >= bad or i % 3:
            (folder / f"{i}.n").write_text(numbers_of_row if i >= bad else ("oops" if i % 3 == 1 else ","))
        rows.append({"left": f"{i}.n", "split": "train" if i % 2 else "test"})
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    every = SourceConfig(path=str(folder / "m.jsonl"), modalities=["left"])
    sources = {"all": every, "tests": replace(every, where={"split": "test"})}
    config = Config(eval=EvalConfig(**{"sources": sources, "batch": 8} | options), data=DataConfig(threads=2))
    return EvalData(config, {"left": numbers("left")}, readers())


def test_every_row_is_read_in_order_without_augmentation_at_every_pass(tmp_path):
    data = held_out(tmp_path)
    assert data.names() == ("all", "tests")
    for _ in range(2):
        batches = list(data.batches("all"))
        assert [len(batch) for batch in batches] == [8, 8, 8, 6]
        assert torch.cat([batch.ids_B for batch in batches]).tolist() == list(range(ROWS))
        first = torch.cat([batch.modalities["left"].data["x"][:, 0] for batch in batches])
        assert first.tolist() == list(range(ROWS))
    tests = next(iter(data.batches("tests")))
    assert tests.modalities["left"].data["x"][:, 0].tolist() == [float(i) for i in range(0, 16, 2)]


def test_a_limit_takes_rows_from_the_whole_of_a_source(tmp_path):
    data = held_out(tmp_path, limit=5)
    assert [batch.ids_B.tolist() for batch in data.batches("all")] == [[0, 6, 12, 18, 24]]


def test_bad_samples_are_left_out_and_counted(tmp_path):
    data = held_out(tmp_path, bad=10)
    seen = [batch.ids_B.tolist() for batch in data.batches("all")]
    assert seen == [[*range(10, 16)], [*range(16, 24)], [*range(24, 30)]]
    assert (data.failures["all"].tried, data.failures["all"].failed) == (ROWS, 10)


def test_a_source_without_a_usable_sample_is_an_error(tmp_path):
    data = held_out(tmp_path, bad=ROWS)
    with pytest.raises(DataError, match="source 'all': no sample can be used"):
        list(data.batches("all"))
    with pytest.raises(ConfigError, match=r"no evaluation source 'z'"):
        next(data.batches("z"))


# ---------------------------------------------------------------------------------------------- ranks


def copy_without(folder: Path, lacking: set[int]) -> Path:
    """Twelve pairs in a manifest, and the files of all but those in ``lacking``."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for i in range(12):
        row = {"key": f"k{i}"}
        for side in ("left", "right"):
            row[side] = f"{i}.{side}"
            content = rng.standard_normal((TOKENS, FEATURES), dtype=np.float32).tobytes()
            if i not in lacking:
                (folder / row[side]).write_bytes(content)
        rows.append(json.dumps(row))
    (folder / "m.jsonl").write_text("\n".join(rows))
    return folder


def test_a_sample_that_one_rank_cannot_read_is_left_out_on_all(tmp_path):
    # Rank 1 has none of the second batch; without agreement it would make two forwards and rank 0 three.
    folders = copy_without(tmp_path / "0", {1}), copy_without(tmp_path / "1", {4, 5, 6, 7, 9})
    lines = launch(Path(__file__).parent / "ranks" / "evaluation.py", *folders, ranks=2, timeout_s=60)
    of_rank = {line[5]: ast.literal_eval(line[7:]) for line in lines.splitlines()}
    assert of_rank["0"]["seen"] == of_rank["1"]["seen"] == [[0, 2, 3], [8, 10, 11]]
    assert of_rank["0"]["total"] == of_rank["1"]["total"] != 0
    for rank, own, others in (("0", {1}, {4, 5, 6, 7, 9}), ("1", {4, 5, 6, 7, 9}, {1})):
        absent = {f"m.jsonl:{i + 1}": f"m.jsonl:{i + 1}: file '{i}.left' does not exist" for i in own}
        assert of_rank[rank]["skipped"] == absent | {f"k{i}": "another rank cannot use it" for i in others}
