"""What is planned comes true: memory and FLOPs of real steps, and plans of the presets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCES = [
    "data.sources.clips.modalities=[video,audio,text]",
    "objectives.temporal={}",
    "objectives.captioning={}",
]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def steps() -> dict[tuple[str, str], dict[str, Any]]:
    """(variant, source) -> what was predicted and measured of a step of the preset tiny."""
    done = run(str(Path(__file__).parent / "plan_and_measure.py"), "tiny", *SOURCES)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    flat = {(variant, source): step for variant in found for source, step in found[variant].items()}
    assert len(flat) == 2
    return flat


def test_a_real_steps_peak_is_the_predicted_one(steps) -> None:
    for name, step in steps.items():
        assert step["largest"]["bytes"] == pytest.approx(step["bytes"]["8"], rel=0.02), name


def test_a_real_steps_flops_by_torchs_counter_are_the_predicted_ones(steps) -> None:
    for name, step in steps.items():
        assert step["largest"]["flops"] == pytest.approx(step["flops"], rel=0.05), name


def test_no_batch_of_ordinary_samples_needs_more_than_predicted(steps) -> None:
    for name, step in steps.items():
        assert step["examples"]["bytes"] <= step["bytes"]["8"], name
        assert step["examples"]["flops"] <= step["flops"], name


def test_two_rehearsals_tell_the_peak_of_a_size_between_them(steps) -> None:
    for name, step in steps.items():
        assert step["chord_bytes"] == pytest.approx(step["bytes"]["8"], rel=0.03), name


def test_the_command_plans_a_run_without_data_or_hardware() -> None:
    done = run(
        "-m", "spectranet", "plan", "--config", "tiny", "--gpus", "4", "--gpu", "a100-80gb", SOURCES[0]
    )
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    best = done.stdout.replace("\\\n", "").split("\nbest: ")[1].splitlines()[0]
    overrides = best.split()
    assert {each.split("=")[0] for each in overrides} >= {"train.gather", "train.shard_ranks"}
    assert run("-m", "spectranet", "config", "show", "--config", "tiny", *overrides).returncode == 0
