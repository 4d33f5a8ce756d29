"""Ranks that evaluate together make the same forwards, though each may lack samples that others have."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
from launch import launch
from toy import FEATURES, TOKENS


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
