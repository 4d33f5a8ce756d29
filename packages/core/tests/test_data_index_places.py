"""Where indexes lie (disks, object stores, HTTP), what checksums notice, and the command that makes them."""

from __future__ import annotations

import gc
import os
import pickle
import re
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest
from ranges import serving
from small_shards import (
    SAMPLES,
    SHARDS,
    contents,
    expected,
    flip,
    opened,
    run_index,
    write,
    write_folder,
)

from spectranet.data import shards, tar
from spectranet.data.index import build
from spectranet.data.index.place import Place
from spectranet.data.index.shard import ShardIndex
from spectranet.data.stores import patience, remote
from spectranet.data.stores.store import stat
from spectranet.errors import DataError


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE", patience.Patience(delays_s=(0.01,), rest_s=0.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "shards")


# ------------------------------------------------------------------------------------------ places


def test_indexes_go_below_the_cache_where_they_cannot_lie_beside_the_shards(folder, tmp_path):
    for name in ("shards.index", *(f"{shard}.tar.index" for shard in range(SHARDS))):
        (folder / name).mkdir()  # in the way, for any user

    assert contents(opened(folder, tmp_path / "cache")) == expected()

    kept = sorted(path.name for path in (tmp_path / "cache" / "index").glob("*/*"))
    assert kept == sorted(["shards.index", *(f"{shard}.tar.index" for shard in range(SHARDS))])
    scanned = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.index")}
    assert contents(opened(folder, tmp_path / "cache")) == expected()
    assert {path: path.stat().st_mtime_ns for path in scanned} == scanned


def test_a_cache_that_cannot_be_written_either_is_an_error_with_the_option_that_mends_it(folder, tmp_path):
    for shard in range(SHARDS):
        (folder / f"{shard}.tar.index").mkdir()
    (tmp_path / "cache").write_text("no folder")
    with pytest.raises(DataError, match=r"(?s)cannot be written, neither in .* nor in .*data\.cache_dir=…"):
        opened(folder, tmp_path / "cache")


def test_an_object_store_gets_its_indexes_and_is_then_opened_without_a_scan(folder, tmp_path):
    bucket = f"memory://{uuid.uuid4().hex}"
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), bucket, recursive=True)

    assert contents(opened(bucket, tmp_path)) == expected()

    names = {name.rpartition("/")[2] for name in memory.ls(bucket, detail=False)}
    assert names >= {"shards.index", "0.tar.index"}
    for shard in range(SHARDS):
        memory.rm(f"{bucket}/{shard}.tar.index")
    assert list(opened(bucket, tmp_path).parts) == [SAMPLES] * SHARDS
    assert f"{bucket}/0.tar.index" not in {f"{bucket}/{name}" for name in memory.ls(bucket, detail=False)}


def test_shards_behind_http_are_scanned_once_and_indexed_below_the_cache(folder, tmp_path):
    with serving(folder) as store:
        store.takes_writes = True
        opened(store.url, tmp_path / "cache")
        before = len(store.requests)

        again = opened(store.url, tmp_path / "cache")

        assert list(again.parts) == [SAMPLES] * SHARDS
        later = store.requests[before:]
        assert not [each for each in later if each.method == "GET" and each.name.endswith(".tar")]
        assert contents(again) == expected()
        assert {each.method for each in store.requests} == {"GET", "HEAD"}, "it is not ours to write to"
    assert not list(folder.glob("*.index"))


def test_indexes_that_lie_behind_http_are_used(folder, tmp_path):
    run_index(folder)
    with serving(folder) as store:
        assert contents(opened(f"{store.url}/{{0..3}}.tar", tmp_path / "cache")) == expected()
        assert [path.name for path in tmp_path.glob("cache/index/*/*")] == ["shards.index"]


def test_signed_addresses_are_read_whatever_their_queries_hold(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "PATIENCE", patience.Patience(delays_s=(), rest_s=0.0))
    with serving(folder) as store:
        store.takes_writes = True
        for signature in ("a/b.c", "d*e[0]"):  # another at each start
            samples = opened(f"{store.url}/{{0..3}}.tar?sig={signature}", tmp_path / "cache")
            assert contents(samples) == expected()
            assert samples.identity == opened(folder, tmp_path / "other").identity
        scans = [each for each in store.requests if each.method == "GET" and each.range == (0, 10239)]
        assert len(scans) == SHARDS, "one each, and no folder was listed"
        assert {each.method for each in store.requests} == {"GET", "HEAD"}
        assert {each.name for each in store.requests} == {f"{shard}.tar" for shard in range(SHARDS)}


def test_an_object_store_gets_no_index_of_an_address_with_a_query(folder, tmp_path):
    bucket = f"memory://{uuid.uuid4().hex}"
    fsspec.filesystem("memory").put(str(folder), bucket, recursive=True)
    queried = f"{bucket}/0.tar?versionId=1"
    fsspec.filesystem("memory").pipe(queried, (folder / "0.tar").read_bytes())

    samples = opened(queried, tmp_path)

    assert samples.read(1, ["txt"]).key == "0.tar/1"
    assert not [name for name in fsspec.filesystem("memory").ls(bucket, detail=False) if "index" in name]
    assert sorted(path.name for path in tmp_path.glob("index/*/*")) == ["0.tar.index", "shards.index"]


def test_a_folder_of_a_store_is_listed_once_to_open_it(folder, tmp_path, monkeypatch):
    for shard in range(SHARDS, 20):
        write(folder / f"{shard}.tar", shard)
    bucket = f"memory://{uuid.uuid4().hex}"
    fsspec.filesystem("memory").put(str(folder), bucket, recursive=True)
    listed, asked = [], []
    for name, calls in (("listing", listed), ("info", asked)):
        really = getattr(remote, name)
        monkeypatch.setattr(
            remote, name, lambda url, *rest, c=calls, f=really: (c.append(url), f(url, *rest))[1]
        )

    assert shards.is_webdataset(bucket)
    samples = opened(bucket, tmp_path)

    assert len(samples.parts) == 20 and listed == [bucket]
    before = len(asked)
    opened(f"{bucket}/*.tar", tmp_path)
    assert len(asked) == before and listed == [bucket]


def test_of_two_summaries_the_row_that_fits_counts_and_no_index_is_read(folder, tmp_path):
    """Beside the shards lies an old one, which is not ours to write; newer rows are below the cache."""
    run_index(folder)
    write(folder / "2.tar", 2, SAMPLES + 40)
    with serving(folder) as store:
        path = f"{store.url}/{{0..3}}.tar"
        assert list(opened(path, tmp_path / "cache").parts) == [5, 5, 45, 5]
        before = len(store.requests)

        assert list(opened(path, tmp_path / "cache").parts) == [5, 5, 45, 5]

        later = [each.name for each in store.requests[before:] if each.method == "GET"]
        assert later == ["shards.index"]
        write(folder / "2.tar", 2, SAMPLES + 80)
        run_index(folder)  # now the other is the older
        assert list(opened(path, tmp_path / "cache").parts) == [5, 5, 85, 5]
        before = len(store.requests)
        opened(path, tmp_path / "cache")
        later = [each.name for each in store.requests[before:] if each.method == "GET"]
        assert later == ["shards.index"]


def test_a_bucket_that_answers_403_for_what_it_has_not_is_read_like_any_other(folder, tmp_path):
    with serving(folder) as store:
        store.hides_absence = True
        assert contents(opened(f"{store.url}/{{0..3}}.tar", tmp_path / "cache")) == expected()


def test_an_index_that_a_failing_store_keeps_back_is_not_made_again_in_mid_run(folder, tmp_path):
    run_index(folder)
    with serving(folder) as store:
        samples = opened(store.url, tmp_path / "cache")
        store.fail("1.tar.index", "error")
        with pytest.raises(DataError, match=r"the index of shard '.*1\.tar' cannot be read: .*500"):
            samples.read(SAMPLES, ["jpg"])
        assert not store.gets("1.tar"), "a scan reads all of it, and the store is in trouble"


# --------------------------------------------------------------------------------------- checksums


def test_a_flipped_byte_is_an_error_of_its_sample_where_there_are_checksums(folder, tmp_path):
    run_index(folder, "--checksums")
    flip(folder / "2.tar", b"txt 3 of 2")
    samples = opened(folder, tmp_path)
    assert samples.read(2 * SAMPLES + 3, ["jpg"]).fields == {"jpg": b"jpg 3 of 2"}
    with pytest.raises(DataError, match=r"2\.tar': the bytes of its 'txt' at .* \(CRC-32\); it is damaged"):
        samples.read(2 * SAMPLES + 3, ["jpg", "txt"])


def test_a_shard_that_is_indexed_again_keeps_having_checksums(folder, tmp_path):
    run_index(folder, "--checksums")
    os.utime(folder / "2.tar")
    opened(folder, tmp_path)
    flip(folder / "2.tar", b"jpg 0 of 2")
    with pytest.raises(DataError, match="CRC-32"):
        opened(folder, tmp_path).read(2 * SAMPLES, ["jpg"])


# ---------------------------------------------------------------------------------- many and bounded


def test_threads_read_the_same_while_few_indexes_are_kept(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tar, "_MOST_BYTES", 1)
    samples = pickle.loads(pickle.dumps(opened(folder, tmp_path)))

    def held() -> list[ShardIndex]:
        gc.collect()
        return [each for each in gc.get_objects() if isinstance(each, ShardIndex) and each.stat in ours]

    ours = [stat(str(path)) for path in folder.glob("*.tar")]
    rows = [row for _ in range(5) for row in range(len(samples))]
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda row: samples.read(row, ("jpg", "txt")), rows))
    assert {raw.key: dict(raw.fields) for raw in read} == expected()
    assert len(held()) <= 1


# ----------------------------------------------------------------------------------------- command


def test_the_command_ends_with_a_table_and_does_nothing_the_second_time(folder):
    (folder / "3.tar").write_bytes((folder / "3.tar").read_bytes()[:3000])
    for _ in range(2):
        table = run_index(folder).splitlines()
        assert table[0].split() == ["path", "shards", "samples", "bytes", "refused", "broken", "fields"]
        assert " 4       17  33.7 kB        0       1  jpg, txt" in table[1]
        assert table[2:4] == [
            "1 of 4 shards are broken:",
            f"  {folder}/3.tar: cut short at byte 3000; 2 samples before it are used",
        ]
        assert "does not start on a source where more than data.failure_limit" in table[4]
        times = {path: path.stat().st_mtime_ns for path in folder.glob("*.index")}
    run_index(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.index")} == times


def test_shards_that_the_shell_names_one_by_one_are_indexed_together(folder, tmp_path, monkeypatch):
    """Not a summary read and written for each of thousands, nor one process for all of them."""
    other = tmp_path / "other"
    other.mkdir()
    write(other / "x.tar", 9)
    written, at_once = [], []
    write_index, spread = Place.write, build._spread
    monkeypatch.setattr(
        Place,
        "write",
        lambda place, name, content: (written.append(name), write_index(place, name, content))[1],
    )
    monkeypatch.setattr(
        build,
        "_spread",
        lambda place, some, *rest: (at_once.append(len(some)), spread(place, some, *rest))[1],
    )

    table = run_index(*sorted(folder.glob("*.tar")), folder / "0.tar", other / "x.tar")

    assert written.count("shards.index") == 2 and at_once == [SHARDS, 1]
    assert re.search(r" 4 +20 ", table) and re.search(r" 1 +5 ", table)


def test_help_on_data_imports_no_numpy():
    code = (
        "import sys; from spectranet.cli.root import root; "
        "root.main(['data', '--help'], standalone_mode=False); print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "index" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"
