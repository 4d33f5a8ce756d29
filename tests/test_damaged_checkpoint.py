"""Whatever byte of a checkpoint is not as written, it is found, the file is named, and the run goes on."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spectranet.train.checkpoint import find_good_checkpoint, list_checkpoints

SMALL = [
    *("modalities.text.width=16", "modalities.text.layers=1", "modalities.text.heads=2"),
    *("modalities.text.mlp_hidden=16", "modalities.text.max_tokens=16", "model.decoder.width=16"),
    *("model.decoder.layers=1", "model.decoder.heads=2", "model.decoder.mlp_hidden=16"),
    *("objectives.contrastive=null", "tasks.retrieval=null", "train.threads=1", "data.workers=0"),
    *("train.global_batch=4", "train.slots=1", "train.log_every=1", "train.checkpoint.every=2"),
]
DAMAGES = 100


def train(run: Path, steps: int) -> str:
    """What a run to so many steps tells."""
    text = run.parent / "text.jsonl"
    text.write_text("\n".join(json.dumps({"key": str(i), "text": f"sentence {i}"}) for i in range(16)))
    command = [sys.executable, "-m", "spectranet", "train", "--plugins", "text", "--config", "tiny", *SMALL]
    source = [f"data.sources.t.path={text}", "data.sources.t.modalities=[text]"]
    words = [f"run_dir={run}", f"train.steps={steps}", *source]
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of four steps with checkpoints of two and four."""
    folder = tmp_path_factory.mktemp("damaged") / "run"
    train(folder, 4)
    assert [path.name for path in list_checkpoints(folder / "checkpoints")] == [
        "step-00000002",
        "step-00000004",
    ]
    return folder


def damage(path: Path, rng: random.Random) -> str:
    """Flip a bit or cut the end off; returns what was done."""
    data = bytearray(path.read_bytes())
    if rng.random() < 0.3:
        kept = rng.randrange(len(data))
        path.write_bytes(data[:kept])
        return f"cut to {kept} of {len(data)} bytes"
    index, bit = rng.randrange(len(data)), rng.randrange(8)
    data[index] ^= 1 << bit
    path.write_bytes(data)
    return f"bit {bit} of byte {index} of {len(data)}"


def test_every_flip_and_truncation_of_every_file_is_found_and_the_file_named(run, tmp_path):
    shutil.copytree(run / "checkpoints", tmp_path / "checkpoints")
    newest = list_checkpoints(tmp_path / "checkpoints")[-1]
    files = sorted(newest.iterdir())
    assert [path.name for path in files] == ["manifest.json", "manifest.sha256", "rank-00000-000.safetensors"]
    missed = []
    for seed in range(DAMAGES):
        victim, rng = files[seed % len(files)], random.Random(seed)
        intact = victim.read_bytes()
        what = damage(victim, rng)
        good, complaints = find_good_checkpoint(newest.parent)
        if good is None or good.step != 2 or not any(victim.name in told for told in complaints):
            missed.append(f"{victim.name}: {what}: {complaints}")
        victim.write_bytes(intact)
    assert missed == []
    good, complaints = find_good_checkpoint(newest.parent)
    assert good is not None and good.step == 4 and complaints == []


def test_a_run_goes_on_from_the_newest_good_checkpoint_and_says_why(run, tmp_path):
    mine = tmp_path / "run"
    shutil.copytree(run, mine)
    newest = mine / "checkpoints" / "step-00000004"
    damage(newest / "rank-00000-000.safetensors", random.Random(1))
    told = train(mine, 5)
    assert f"warning: checkpoint {newest}: rank-00000-000.safetensors is not what was written" in told
    assert f"going on from {newest.with_name('step-00000002')}" in told
    # The damaged one was written anew, and is not trusted by its age.
    good, complaints = find_good_checkpoint(newest.parent)
    assert good is not None and good.step == 5 and complaints == []
