"""Errors of a store's own client, whatever their family, are one line that names the address."""

from __future__ import annotations

import uuid
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from small_shards import run_index

from spectranet.data.stores import patience, store
from spectranet.errors import DataError


class ConnectError(Exception):
    """As httpx has one, which is no ``OSError``."""


class Offline(MemoryFileSystem):
    protocol = "offline"
    fails_in = ""

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("offline://").strip("/")

    def __getattribute__(self, name: str):
        if name == type(self).fails_in:
            raise ConnectError("[Errno -2] Name or service\nnot known")
        return super().__getattribute__(name)


USES = {
    "invalidate_cache": lambda folder: store.list_tars(folder),
    "ls": lambda folder: store.list_tars(folder),
    "_parent": lambda folder: store.stat(f"{folder}/0.tar"),
    "info": lambda folder: store.stat(f"{folder}/0.tar"),
    "unstrip_protocol": lambda folder: store.glob(f"{folder}/*.tar"),
    "glob": lambda folder: store.glob(f"{folder}/*.tar"),
}


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of its own for each test, since one that failed rests for a while."""
    monkeypatch.setattr(patience, "PATIENCE", patience.Patience(delays_s=(0.01,), rest_s=0.0))
    fsspec.register_implementation("offline", Offline, clobber=True)
    folder = f"offline://{uuid.uuid4().hex}"
    store.write_atomically(f"{folder}/0.tar", bytes(1024))
    return folder


@pytest.mark.parametrize("call", USES)
def test_a_client_that_cannot_connect_is_told_in_one_line(folder, monkeypatch, call):
    USES[call](folder)
    monkeypatch.setattr(Offline, "fails_in", call)
    with pytest.raises(DataError) as caught:
        USES[call](folder)
    assert str(caught.value).startswith(f"'{folder}")
    assert str(caught.value).endswith(
        "cannot be read (tried 2 times): ConnectError: [Errno -2] Name or service not known"
    )


def test_the_command_says_so_of_a_folder(folder, monkeypatch, tmp_path: Path):
    monkeypatch.setattr(Offline, "fails_in", "invalidate_cache")
    with pytest.raises(DataError, match=rf"'{folder}' cannot be read .*ConnectError"):
        run_index(folder, "--cache-dir", tmp_path)


def test_a_store_whose_client_cannot_be_made_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr(patience, "PATIENCE", patience.Patience(delays_s=(), rest_s=0.0))

    def refuse(url: str):
        raise ConnectError("no credentials")

    monkeypatch.setattr("fsspec.core.url_to_fs", refuse)
    with pytest.raises(
        DataError, match=r"'memory://a/0.tar' cannot be read \(tried once\): ConnectError: no cred"
    ):
        store.stat("memory://a/0.tar")
