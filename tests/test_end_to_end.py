"""A run from tars to figures, as a user starts it: alone, on two ranks, stopped and resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[1] / "demo"
SOURCES = ("image-text", "video-text", "audio-text", "video-audio-text")
STEPS = 20

CONFIG = """
extends: tiny
trunks:
  vit: {image_size: 32, width: 32, layers: 1, heads: 2, mlp_hidden: 32}
modalities:
  image: {size: 32}
  video: {size: 16, frames: 4}
  audio:
    {max_seconds: 0.5, width: 32, layers: 1, heads: 2, mlp_hidden: 32, conv_dim: [8],
     num_conv_pos_embedding_groups: 4}
  text: {max_tokens: 24, width: 32, layers: 1, heads: 2, mlp_hidden: 32}
model:
  decoder: {width: 32, layers: 1, heads: 2, mlp_hidden: 32}
objectives:
  contrastive: {width: 16}
  captioning: {}
  temporal: {width: 16}
train:
  steps: 20
  global_batch: 16
  slots: 4
  micro_batch: null
  threads: 1
  log_every: 1
  optimizer: {warmup_steps: 5}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    """A configuration file over a small set of real tars: JPEG, MP4 with sound, WAV, text."""
    folder = tmp_path_factory.mktemp("e2e")
    script = (
        "import sys; from pathlib import Path; from write_shards import SOURCES, write_data\n"
        "from dataclasses import replace\n"
        "small = {n: replace(s, train=24, test=8) for n, s in SOURCES.items()}\n"
        "write_data(Path(sys.argv[1]), sources=small, processes=1)"
    )
    subprocess.run([sys.executable, "-c", script, str(folder / "data")], check=True, cwd=DEMO)
    sources: dict[str, dict] = {"train": {}, "test": {}}
    for split, of_split in sources.items():
        for name in SOURCES:
            of_split[name] = {
                "path": str(folder / "data" / split / name / "*.tar"),
                "modalities": name.split("-"),
                "fields": {"audio": "mp4"} if name == "video-audio-text" else {},
            }
    file = folder / "small.yaml"
    data = json.dumps({"workers": 1, "sources": sources["train"]})
    file.write_text(f"{CONFIG}\ndata: {data}\neval: {json.dumps({'sources': sources['test']})}\n")
    return file


def command(config: Path, run: Path, *overrides: str, ranks: int = 1) -> list[str]:
    head = [sys.executable, "-m", "spectranet"]
    if ranks > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
        head = [sys.executable, *launcher, "-m", "spectranet"]
    return [
        *head,
        "train",
        "--plugins",
        "vision,audio,text",
        "--config",
        str(config),
        f"run_dir={run}",
        *overrides,
    ]


def train(config: Path, run: Path, *overrides: str, ranks: int = 1, code: int = 0) -> str:
    done = subprocess.run(
        command(config, run, *overrides, ranks=ranks), capture_output=True, text=True, timeout=280
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr


def records(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def losses(run: Path) -> dict[int, dict[str, float]]:
    """step -> every ``loss…`` of that step."""
    return {
        r["step"]: {name: value for name, value in r.items() if name.startswith("loss")}
        for r in records(run)
        if "loss" in r
    }


@pytest.fixture(scope="module")
def alone(config) -> Path:
    run = config.parent / "alone"
    train(config, run)
    return run


def test_every_objective_and_modality_is_reported(alone):
    seen = {name for step in losses(alone).values() for name in step}
    assert seen >= {f"loss/mmm.{m}" for m in ("image", "video", "audio", "text")}
    assert seen >= {
        f"loss/contrastive.{pair}" for pair in ("image-text", "audio-text", "text-video", "audio-video")
    }
    assert seen >= {"loss/captioning.text", "loss/temporal.audio", "loss/temporal.video", "loss"}


def test_the_loss_falls(alone):
    curve = [step["loss"] for step in losses(alone).values()]
    assert len(curve) == STEPS and sum(curve[-5:]) < sum(curve[:5])


def test_retrieval_is_measured_in_every_direction(alone):
    figures = {name for record in records(alone) for name in record}
    for source, pairs in {"image-text": 2, "video-text": 2, "audio-text": 2, "video-audio-text": 6}.items():
        assert sum(f.startswith(f"eval/{source}/") and f.endswith("/R@1") for f in figures) == pairs


def test_two_ranks_have_the_loss_curve_of_one_process(config, alone):
    run = config.parent / "two"
    train(config, run, ranks=2)
    one, two = losses(alone), losses(run)
    assert one.keys() == two.keys() == set(range(1, STEPS + 1))
    for step in one:
        assert two[step] == pytest.approx(one[step], rel=1e-3), f"step {step}"


def test_a_resumed_run_is_bit_identical(config, alone):
    run = config.parent / "resumed"
    process = subprocess.Popen(
        command(config, run, "train.checkpoint.every=1"), stderr=subprocess.PIPE, text=True
    )
    while not any(int(p.name[-8:]) >= 4 for p in (run / "checkpoints").glob("step-" + "[0-9]" * 8)):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "going on from" in train(config, run)
    assert losses(run) == losses(alone)


def test_a_signal_ends_a_run_with_a_checkpoint_and_the_code_to_resume(config, tmp_path):
    process = subprocess.Popen(
        command(config, tmp_path, "train.steps=100000"), stderr=subprocess.PIPE, text=True, env=os.environ
    )
    while not (tmp_path / "metrics.jsonl").exists() or not records(tmp_path):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 75, told
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    assert f"after step {int(checkpoint.name.removeprefix('step-'))}" in told


def test_eval_measures_a_finished_run_again(alone):
    command = [sys.executable, "-m", "spectranet", "eval", str(alone)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=200, env=os.environ | {"COLUMNS": "100"}
    )
    assert done.returncode == 0, done.stderr
    expected = records(alone)[-1]["eval/image-text/image-text/R@1"]
    (line,) = [row for row in done.stdout.splitlines() if "image-text/image-text/R@1" in row]
    assert f"{expected:.4g}" in line


def test_bf16_trains(config, alone, tmp_path):
    train(config, tmp_path, "train.precision=bf16", "train.steps=5", "train.optimizer.warmup_steps=1")
    found, expected = losses(tmp_path)[1], losses(alone)[1]
    assert found == pytest.approx(expected, rel=0.05)


def test_changed_data_is_refused_on_resume_unless_it_is_accepted(config, alone, tmp_path):
    run, moved = (Path(shutil.copytree(alone, tmp_path / "run")), tmp_path / "moved")
    shutil.copytree(config.parent / "data" / "train" / "image-text", moved)
    max(moved.glob("*.tar")).rename(moved / "z.tar")
    overrides = [f"data.sources.image-text.path={moved}/*.tar", "tasks.retrieval=null"]
    refused = train(config, run, *overrides, code=2)
    assert "source 'image-text' has 24 samples in" in refused and "Traceback" not in refused
    accepted = train(config, run, *overrides, "train.checkpoint.accept_changed_data=true")
    assert "source 'image-text' has 24 samples in" in accepted and "the order is another" in accepted


def test_a_changed_model_does_not_take_the_old_checkpoint(config, alone):
    done = subprocess.run(
        command(config, alone, "model.decoder.width=64"), capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "does not fit this model" in done.stderr and "run_dir" in done.stderr


def test_a_mistake_in_a_held_out_source_is_told_before_training(config, tmp_path):
    told = train(config, tmp_path, "eval.sources.image-text.path=nowhere", code=2)
    assert "'image-text'" in told and "nowhere" in told
    assert not (tmp_path / "metrics.jsonl").exists()
