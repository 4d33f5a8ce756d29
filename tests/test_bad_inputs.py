"""A whole run over a folder of bad inputs: each is reported once by key, replaced, and ends nothing.

``bad_inputs/make.py`` writes the folder; what each file of it is expected to say stands here.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest

STEPS = 12
BATCH = 24
PATHS = {
    "pictures": ("rows.jsonl", "image"),
    "sounds": ("rows.jsonl", "audio"),
    "clips": ("rows.jsonl", "video"),
    "captions": ("*.tar", "image"),
    "shards": ("*.tar", "image"),
    "leaving": ("*.tar", "image"),
}

REPORTED = {
    ("pictures", "truncated"): "JPEG: Premature end of JPEG file",
    ("pictures", "empty"): "not a JPEG, PNG or WebP (starts with no bytes)",
    ("pictures", "text"): "not a JPEG, PNG or WebP (starts with 6e 6f 20",
    ("pictures", "bomb_pixels"): "PNG of 30000x30000 pixels exceeds the limit of 67108864 pixels",
    ("pictures", "bomb_bytes"): "67108865 bytes exceed the limit of 67108864",
    ("pictures", "rows.jsonl:15"): "file 'gone.jpg' does not exist",
    ("pictures", "rows.jsonl:16"): "'../sounds/good0.wav', which is outside the manifest's folder",
    ("pictures", "rows.jsonl:17"): "'/etc/passwd', which is outside the manifest's folder",
    ("sounds", "truncated"): "truncated WAV: 7978 of 16000 bytes of sound",
    ("sounds", "empty"): "empty file",
    ("sounds", "no_samples"): "no sound: zero samples",
    ("sounds", "bomb_seconds"): "100000.0 s are over the limit of",
    ("sounds", "picture"): "not readable as sound",
    ("clips", "truncated"): "mp4, damaged or cut short: Invalid data found",
    ("clips", "truncated_end"): "mp4: cut short by 200 bytes",
    ("clips", "empty"): "not an MP4, MOV, WebM, Matroska or AVI (starts with no bytes)",
    ("clips", "text"): "not an MP4, MOV, WebM, Matroska or AVI (starts with 6e 6f 20",
    ("captions", "captions.tar/not_utf8"): "text is not UTF-8: unexpected end of data at byte 3",
    ("captions", "captions.tar/empty"): "text is empty",
    ("captions", "captions.tar/blank"): "text is empty",
    ("captions", "captions.tar/megabyte"): "text of 1048580 bytes; the limit is 1048576",
}
"""(source, key) -> a part of the reason. Everything else in these sources is good."""

REPORTED_OF_SHARDS = {"vanishes.tar": "it does not exist (any more)", "hangs.tar": "does not answer"}
"""Shard of the source ``leaving`` -> a part of the reason, for those of its samples that were wanted."""

SAID_AT_THE_START = {
    "shards": (
        "1 duplicate member",
        "2 link, device or sparse members",
        "6 names outside the archive",
        "1 of 3 shards cannot be read whole",
        "1-cut-in-member.tar': cut short",
    ),
    "captions": ("1 of 2 shards cannot be read whole", "cut-between.tar': cut short"),
}

CONFIG = """
extends: tiny
trunks:
  vit: {image_size: 32, width: 16, layers: 1, heads: 2, mlp_hidden: 16}
modalities:
  image: {size: 32}
  video: {size: 16, frames: 4}
  audio:
    {max_seconds: 0.5, width: 16, layers: 1, heads: 2, mlp_hidden: 16, conv_dim: [8],
     num_conv_pos_embedding_groups: 4}
  text: {max_tokens: 24, width: 16, layers: 1, heads: 2, mlp_hidden: 16}
model:
  decoder: {width: 16, layers: 1, heads: 2, mlp_hidden: 16}
objectives:
  contrastive: {width: 16}
train:
  steps: %d
  global_batch: %d
  slots: 6
  threads: 1
  log_every: 1
"""


@pytest.fixture(scope="module")
def make() -> dict:
    return runpy.run_path(str(Path(__file__).parent / "bad_inputs" / "make.py"))


@pytest.fixture(scope="module")
def folder(make, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    make["write_bad_inputs"](folder)
    sources = {
        name: {"path": str(folder / name / path), "modalities": [modality, "text"]}
        for name, (path, modality) in PATHS.items()
    }
    data = {"workers": 1, "prefetch": 1, "stall_s": 3, "sources": sources}
    (folder / "config.yaml").write_text(CONFIG % (STEPS, BATCH) + f"data: {json.dumps(data)}\n")
    return folder


def start(folder: Path, run: Path, *overrides: str) -> subprocess.Popen[str]:
    options = ["--plugins", "vision,audio,text", "--config", str(folder / "config.yaml"), f"run_dir={run}"]
    command = [sys.executable, "-m", "spectranet", "train", *options, *overrides]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "200"})


def finish(process: subprocess.Popen[str], code: int) -> str:
    _, told = process.communicate(timeout=200)
    assert process.returncode == code, told
    assert "Traceback" not in told
    return told


def reported(run: Path) -> list[tuple[int, str, str, str]]:
    lines = (run / "failures" / "rank-0.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    return [(each["step"], each["source"], each["key"], each["reason"]) for each in entries]


@pytest.fixture(scope="module")
def whole(make, folder) -> tuple[Path, str]:
    """A run that all failures are allowed in, and what it told; shards vanish and hang under it."""
    run = folder / "whole"
    process = start(folder, run, "data.failure_limit=1")
    while not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").read_text():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    for name in ("vanishes.tar", "hangs.tar"):
        (folder / "leaving" / name).unlink()
    os.mkfifo(folder / "leaving" / "hangs.tar")  # opening it waits for a writer, who never comes
    told = finish(process, 0)
    (folder / "leaving" / "hangs.tar").unlink()
    for path in (folder / "leaving").iterdir():
        path.unlink()
    (folder / "leaving").rmdir()
    make["write_leaving"](folder / "leaving")
    return run, told


@pytest.mark.parametrize("place", REPORTED, ids="/".join)
def test_each_bad_row_is_reported_by_its_key_with_its_reason(whole, place):
    reasons = {reason for _, source, key, reason in reported(whole[0]) if (source, key) == place}
    assert len(reasons) == 1, f"{place} was reported with {reasons}"
    assert REPORTED[place] in reasons.pop()


def test_nothing_good_is_reported(whole):
    found = {(source, key) for _, source, key, _ in reported(whole[0]) if source != "leaving"}
    assert found == set(REPORTED)


@pytest.mark.parametrize("shard", REPORTED_OF_SHARDS)
def test_shards_that_vanish_or_hang_in_mid_run_are_named(whole, shard):
    reasons = [
        reason
        for _, source, key, reason in reported(whole[0])
        if source == "leaving" and key.startswith(shard)
    ]
    assert reasons
    for reason in reasons:
        assert shard in reason and REPORTED_OF_SHARDS[shard] in reason


def test_what_is_left_out_when_sources_are_opened_is_said(whole):
    for source, parts in SAID_AT_THE_START.items():
        (line,) = [line for line in whole[1].splitlines() if line.startswith(f"{source}: ")]
        for part in parts:
            assert part in line


def test_no_step_is_short_of_samples(whole):
    run, _ = whole
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [each["step"] for each in records if "loss" in each] == list(range(1, STEPS + 1))
    (checkpoint,) = (run / "checkpoints").iterdir()
    samples = json.loads((checkpoint / "manifest.json").read_text())["samples"]
    assert {name: tried for name, (tried, _) in samples.items()} == dict.fromkeys(PATHS, STEPS * BATCH // 6)
    assert 0 < sum(failed for _, failed in samples.values()) < len(reported(run))  # bad ones in their places
    last = [each for each in records if "loss" in each][-1]
    for name, (tried, failed) in samples.items():
        assert last.get(f"failed/{name}", 0) == failed
        assert last.get(f"tried/{name}", tried) == tried


def test_the_default_limit_stops_the_run_which_goes_on_with_the_same_replacements(folder, whole):
    run = folder / "limited"
    told = finish(start(folder, run), 2)

    error = told[told.index("error: ") :].splitlines()
    (first, *_), worst = error, [line for line in error if " x  '" in line]
    assert "samples could not be used" in first and "data.failure_limit is 1 % of at least 1,000" in first
    assert all(any(part in line for part in REPORTED.values()) for line in worst)
    assert 1 <= len(worst) <= 10 * sum("could not be used" in line for line in error)
    assert f"all of them:  {run / 'failures'}" in error[-3]
    assert "data.failure_limit=1.0" in error[-1]  # more than half of a source is bad

    # A worker more and other threads: what stands in for a bad sample depends on neither.
    again = finish(start(folder, run, "data.failure_limit=1", "data.workers=2", "data.threads=1"), 0)

    assert "going on from" in again
    expected = [each for each in reported(whole[0]) if each[1] != "leaving"]
    assert sorted(reported(run)) == sorted(expected)
