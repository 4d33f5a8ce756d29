"""Shards behind an HTTP server, and a folder for their copies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ranges import serving
from remote_shards import SHARDS, SIZE

from spectranet.data.stores import patience
from spectranet.data.stores.patience import Patience


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE", Patience(delays_s=(0.01,), attempt_s=5.0, rest_s=1000.0))


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    return {name: os.urandom(SIZE) for name in SHARDS}


@pytest.fixture
def server(tmp_path: Path, contents: dict[str, bytes]):
    folder = tmp_path / "bucket"
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    with serving(folder) as server:
        yield server


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"
