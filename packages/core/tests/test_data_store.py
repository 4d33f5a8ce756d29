"""Bytes by address: the same for paths and URLs."""

from __future__ import annotations

import os
import stat as stat_module
import subprocess
import sys
import time
import uuid
from pathlib import Path

import fsspec
import pytest
from ranges import Store, serving

from spectranet.data.stores import patience, store
from spectranet.data.stores.patience import Patience
from spectranet.errors import ConfigError, DataError

CONTENT = os.urandom(300_000)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> Patience:
    """Three attempts within moments; an address that was given up rests for as long as a test lasts."""
    quick = Patience(delays_s=(0.01, 0.02), attempt_s=0.5, whole_s=0.5, rest_s=1000.0)
    monkeypatch.setattr(patience, "PATIENCE", quick)
    return quick


@pytest.fixture(params=["path", "memory", "http"])
def folder(request: pytest.FixtureRequest, tmp_path: Path):
    """The address of a folder with a.tar, b.tar and notes.txt, of each kind of store."""
    names = ("a.tar", "b.tar", "notes.txt")
    if request.param == "memory":
        address = f"memory://{uuid.uuid4().hex}"
        fsspec.filesystem("memory").pipe({f"{address}/{name}": CONTENT for name in names})
        yield address
        return
    for name in names:
        (tmp_path / name).write_bytes(CONTENT)
    if request.param == "path":
        yield str(tmp_path)
        return
    with serving(tmp_path) as server:
        yield server.url


@pytest.fixture
def server(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(CONTENT)
    with serving(tmp_path) as server:
        yield server


# ---------------------------------------------------------------------- the same for paths and URLs


def test_a_range_is_read_exactly(folder: str) -> None:
    assert store.read_range(f"{folder}/a.tar", 1000, 70_000) == CONTENT[1000:71_000]
    assert store.read_range(f"{folder}/a.tar", 299_999, 1) == CONTENT[-1:]


def test_no_bytes_are_read_without_a_request(server: Store) -> None:
    assert store.read_range(f"{server.url}/a.tar", 1000, 0) == b""
    assert server.requests == []


def test_all_of_a_file_is_read(folder: str) -> None:
    assert store.read_all(f"{folder}/a.tar") == CONTENT


@pytest.mark.parametrize(("offset", "size"), [(299_995, 10), (400_000, 10)])
def test_a_range_past_the_end_is_refused_and_the_rest_can_still_be_read(
    folder: str, offset: int, size: int
) -> None:
    with pytest.raises(DataError, match=r"a\.tar' is shorter than its index says"):
        store.read_range(f"{folder}/a.tar", offset, size)

    assert store.read_range(f"{folder}/a.tar", 0, 10) == CONTENT[:10]


def test_a_stream_is_read_and_searched_like_a_file(folder: str) -> None:
    with store.open_stream(f"{folder}/a.tar") as stream:
        assert stream.read(10) == CONTENT[:10]
        assert stream.seek(250_000) == 250_000
        assert stream.read() == CONTENT[250_000:]
        stream.seek(-5, os.SEEK_END)
        assert stream.read(100) == CONTENT[-5:]


def test_absence_is_said_at_once(folder: str) -> None:
    missing = f"{folder}/c.tar"

    assert store.stat_all([f"{folder}/a.tar", missing]) == [store.stat(f"{folder}/a.tar"), None]
    for look in (store.stat, store.read_all, store.open_stream):
        with pytest.raises(store.Absent, match=r"c\.tar' does not exist"):
            look(missing)


def test_shards_are_listed(folder: str) -> None:
    for listed in (store.list_tars(folder), store.glob(f"{folder}/*.tar")):
        assert [address.rpartition("/")[2] for address in listed] == ["a.tar", "b.tar"]
        assert all(said in (None, store.stat(address)) for address, said in listed.items())
    assert list(store.list_tars(folder)) == [f"{folder}/a.tar", f"{folder}/b.tar"]
    assert not store.list_tars(f"{folder}/elsewhere")
    found = [*store.glob(f"{folder}/[b-z]*.t*")]
    assert [address.rpartition("/")[2] for address in found] == ["b.tar", "notes.txt"]
    assert store.read_all(found[0]) == CONTENT


def test_many_are_asked_for_at_once_and_one_by_one_alike(folder: str) -> None:
    paths = [f"{folder}/{name}.tar" for name in ["b", "a", *(f"missing{i}" for i in range(40))]]

    assert store.stat_all(paths) == [store.stat(paths[0]), store.stat(paths[1]), *([None] * 40)]


def test_a_changed_file_has_another_stamp(tmp_path: Path, server: Store) -> None:
    for address in (str(tmp_path / "a.tar"), f"{server.url}/a.tar"):
        before = store.stat(address)
        os.utime(tmp_path / "a.tar", ns=(1, 1 + time.time_ns()))
        assert store.stat(address).size == before.size
        assert store.stat(address).stamp != before.stamp


def test_a_local_file_is_replaced_whole_with_the_rights_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    path = tmp_path / "x.index"
    for content in (b"old", b"new and longer"):
        store.write_atomically(str(path), content)
        assert path.read_bytes() == content

    assert sorted(each.name for each in tmp_path.iterdir()) == ["plain", "x.index"]
    modes = {stat_module.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_url_is_written_where_the_store_takes_it(server: Store) -> None:
    address = f"memory://{uuid.uuid4().hex}/x.index"
    store.write_atomically(address, b"content")

    assert store.read_all(address) == b"content"
    with pytest.raises(DataError, match=r"x\.index' cannot be written"):
        store.write_atomically(f"{server.url}/x.index", b"content")


def test_local_files_are_read_without_fsspec(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(CONTENT)
    script = (
        "import sys; from spectranet.data.stores import store, cache; from pathlib import Path\n"
        "store.stat('~/a.tar'); store.read_range('~/a.tar', 5, 5); store.list_tars('~')\n"
        "assert 'fsspec' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, "HOME": str(tmp_path)})
    assert done.returncode == 0


def test_a_protocol_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r"s3://bucket/a\.tar.*python -m pip install s3fs"):
        store.stat("s3://bucket/a.tar")


def test_an_unknown_protocol_is_named() -> None:
    with pytest.raises(ConfigError, match=r"knows no 'htp://'\. Did you mean 'http'\?"):
        store.read_range("htp://host/a.tar", 0, 1)
