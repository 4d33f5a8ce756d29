"""Two environments with real installations of all that can be wrong with plugins; one of them lacks torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from crowd import CROWD, GOOD
from installed import Environment


@pytest.fixture(scope="session")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Every broken plugin at once, nothing of audio, no torch: what imports that would fail for it."""
    folder = tmp_path_factory.mktemp("crowd")
    made = Environment(folder / "env", without=("torch", "spectranet_audio"))
    made.install(*(ware.wheel(folder / "wheels") for ware in (*CROWD, *GOOD)))
    return made


@pytest.fixture(scope="session")
def able(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The same with torch: here one can train."""
    folder = tmp_path_factory.mktemp("able")
    made = Environment(folder / "env")
    made.install(*(ware.wheel(folder / "wheels") for ware in (*CROWD, *GOOD)))
    return made


@pytest.fixture
def training(tmp_path: Path) -> Callable[..., list[str]]:
    """``training("a,b")``: what follows ``spectranet`` to train on text with these plugins, for a moment."""
    rows = [json.dumps({"key": str(i), "text": f"sentence number {i}"}) for i in range(8)]
    (tmp_path / "text.jsonl").write_text("\n".join(rows))

    def command(plugins: str, *overrides: str) -> list[str]:
        return [
            *("train", "--plugins", plugins, "--config", "tiny", f"run_dir={tmp_path / 'run'}"),
            *(f"data.sources.t.path={tmp_path / 'text.jsonl'}", "data.sources.t.modalities=[text]"),
            *("modalities.text.width=16", "modalities.text.layers=1", "modalities.text.heads=2"),
            *("modalities.text.mlp_hidden=16", "modalities.text.max_tokens=16", "model.decoder.width=16"),
            *("model.decoder.layers=1", "model.decoder.heads=2", "model.decoder.mlp_hidden=16"),
            *("objectives.contrastive=null", "tasks.retrieval=null", "data.workers=0", "train.threads=1"),
            *("train.global_batch=4", "train.slots=1", "train.log_every=1", "train.steps=2"),
            *overrides,
        ]

    return command
