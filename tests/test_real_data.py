"""Emoji, clips and spoken digits: the command of examples/shared-data.yaml, a few steps of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
MANIFESTS = ("emoji/captions.jsonl", "clips/captions.jsonl", "spoken_digits/transcripts.jsonl")

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no sample data in {DATA}")


def spectranet(*words: object) -> None:
    command = [sys.executable, "-m", "spectranet", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


def test_one_command_trains_on_images_video_audio_and_text(tmp_path):
    tokenizer = tmp_path / "tokenizer.model"
    manifests = [DATA / name for name in MANIFESTS]
    spectranet("tokenizer", "train", "--vocab-size", 1000, "--output", tokenizer, *manifests)
    spectranet(
        *("train", "--plugins", "vision,audio,text", "--config", "tiny"),
        *("--config", "examples/shared-data.yaml", f"run_dir={tmp_path / 'run'}"),
        *("train.steps=4", "train.log_every=1", "train.threads=1", "eval.limit=40"),
        f"modalities.text.tokenizer={tokenizer}",
    )
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    seen = {name for record in records for name in record}
    assert seen >= {f"loss/mmm.{modality}" for modality in ("image", "video", "audio", "text")}
    assert seen >= {"eval/emoji/text-image/R@1", "eval/digits/audio-text/R@1"}
    assert all(record.get("replaced_samples", 0) == 0 for record in records)
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
