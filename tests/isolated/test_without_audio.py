"""What an environment with only core, text, vision and objectives can do; `nox -s isolated` makes it."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 220), "yellow": (230, 220, 40)}


def spectranet(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spectranet", *arguments], capture_output=True, text=True, timeout=240
    )


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of 16 PNG pictures, each with its colour's name beside it."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(16):
        name, colour = list(COLOURS.items())[index % len(COLOURS)]
        Image.new("RGB", (64, 64), colour).save(folder / f"{index:02}.png")
        (folder / f"{index:02}.txt").write_text(f"a {name} square")
    return folder


@pytest.mark.parametrize("module", ["spectranet_audio", "torchaudio", "soundfile", "soxr"])
def test_nothing_of_audio_is_installed_here(module: str) -> None:
    assert importlib.util.find_spec(module) is None


def test_naming_audio_says_how_to_install_it(pictures: Path) -> None:
    ended = spectranet("train", "--plugins", "vision,audio,text", "--config", "tiny")

    assert ended.returncode == 2
    assert "error: plugin 'audio' is not installed.\n" in ended.stderr
    assert "  install it:  python -m pip install spectranet-audio\n" in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def test_trains_on_pictures_and_text(pictures: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"

    ended = spectranet(
        *("train", "--plugins", "vision,text", "--config", "tiny", f"run_dir={run_dir}"),
        *(f"data.sources.pictures.path={pictures}", "data.sources.pictures.modalities=[image,text]"),
        *("train.steps=3", "train.global_batch=8", "train.slots=2", "train.log_every=1"),
    )

    assert ended.returncode == 0, ended.stderr
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    losses = [record["loss"] for record in records if "loss" in record]
    assert len(losses) == 3 and all(math.isfinite(loss) for loss in losses)
    assert {"loss/mmm.image", "loss/mmm.text"} <= set(records[0])
    assert (run_dir / "checkpoints" / "step-00000003" / "manifest.json").is_file()
