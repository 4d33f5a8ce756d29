"""Indexes: made once, shared by all who start together, never believed when they are stale or damaged."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ranges import serving
from small_shards import (
    SAMPLES,
    SHARDS,
    contents,
    expected,
    index_files,
    opened,
    run_index,
    write,
    write_folder,
)

from spectranet.data.index import build as index_build
from spectranet.data.index import progress as index_progress
from spectranet.data.index.file import Unusable
from spectranet.data.index.shard import ShardIndex, ShardRow
from spectranet.data.index.summary import Summary
from spectranet.data.stores import patience
from spectranet.data.stores.state import Stat, difference
from spectranet.errors import DataError


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE", patience.Patience(delays_s=(0.01,), rest_s=0.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "shards")


# ----------------------------------------------------------------------------------- made and used


def test_the_first_opening_makes_indexes_and_the_next_reads_the_summary_alone(folder, tmp_path):
    first = opened(folder, tmp_path)
    assert contents(first) == expected()
    assert set(index_files(folder)) == {"shards.index", *(f"{shard}.tar.index" for shard in range(SHARDS))}
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == [], "no lock is left"
    for shard in range(SHARDS):
        (folder / f"{shard}.tar.index").unlink()

    again = opened(folder, tmp_path)

    assert list(again.parts) == [SAMPLES] * SHARDS
    assert list(index_files(folder)) == ["shards.index"], "nothing was scanned to open it"
    assert contents(again) == expected()


def test_rows_of_each_shard_are_counted_by_what_is_needed(folder, tmp_path):
    samples = opened(folder, tmp_path, "txt")
    assert samples.parts.dtype == np.int64
    assert list(samples.parts) == [SAMPLES - 1] * SHARDS
    assert samples.dropped == {"sample without txt": SHARDS}
    assert samples.found == {"jpg": SHARDS * SAMPLES, "txt": SHARDS * (SAMPLES - 1)}
    assert list(contents(samples)) == [key for key, fields in expected().items() if "txt" in fields]


def test_shards_of_several_folders_keep_their_order(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    write(other / "9.tar", 9, 2)
    samples = opened(f"{{{other}/9,{folder}/2,{folder}/0,{folder}/2}}.tar", tmp_path)
    assert list(samples.parts) == [2, SAMPLES, SAMPLES, SAMPLES]
    assert samples.read(1, ["jpg"]).fields == {"jpg": b"jpg 1 of 9"}
    assert samples.read(2, ["jpg"]).key == samples.read(2 + 2 * SAMPLES, ["jpg"]).key == "2.tar/0"


def test_only_new_shards_of_a_folder_are_scanned_and_all_stay_in_the_summary(folder, tmp_path):
    opened(folder / "{0..1}.tar", tmp_path)
    before = index_files(folder)
    opened(folder / "{2..3}.tar", tmp_path)
    after = index_files(folder)
    assert {name: after[name] for name in ("0.tar.index", "1.tar.index")} == {
        name: before[name] for name in ("0.tar.index", "1.tar.index")
    }
    for shard in range(SHARDS):
        (folder / f"{shard}.tar.index").unlink()
    assert list(opened(folder, tmp_path).parts) == [SAMPLES] * SHARDS
    assert list(index_files(folder)) == ["shards.index"]


def test_workers_that_are_asked_for_make_the_same_indexes(folder, tmp_path):
    opened(folder, tmp_path)
    alone = index_files(folder)
    for name in alone:
        (folder / name).unlink()
    run_index(folder, "--workers", "2")
    assert index_files(folder) == alone


def test_other_processes_help_when_one_would_take_long(folder, tmp_path, monkeypatch):
    opened(folder, tmp_path)
    alone = index_files(folder)
    for name in alone:
        (folder / name).unlink()
    monkeypatch.setattr(index_build, "_ALONE_S", 0.0)
    monkeypatch.setattr(index_build, "_processors", lambda: 2)
    here = os.getpid()
    monkeypatch.setattr(index_build, "scan_shard", scan_elsewhere(here, index_build.scan_shard))
    assert contents(opened(folder, tmp_path)) == expected()
    assert index_files(folder) == alone


def scan_elsewhere(here, scan):
    def scan_shard(*args, **kwargs):
        assert os.getpid() != here
        return scan(*args, **kwargs)

    return scan_shard


def test_no_index_is_waited_for_until_it_is_on_the_disk(folder, tmp_path, monkeypatch):
    """It has a checksum and can be made again; thousands of them would take minutes."""
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    opened(folder, tmp_path)
    assert len(index_files(folder)) == SHARDS + 1
    assert not synced


@pytest.mark.parametrize("rank", ["0", "1"])
def test_what_takes_long_is_said_once_by_the_first_rank_of_a_machine(
    folder, tmp_path, monkeypatch, caplog, rank
):
    monkeypatch.setattr(index_progress, "_QUIET_S", 0.0)
    monkeypatch.setenv("LOCAL_RANK", rank)
    caplog.set_level(logging.WARNING)
    opened(folder, tmp_path)
    said = [f"indexing 4 shards of '{folder}'; 1 are done. This happens once."] if rank == "0" else []
    assert caplog.messages == said


# --------------------------------------------------------------------------------- stale and damaged


def test_a_shard_that_changed_is_indexed_again_and_named_with_what_differs(folder, tmp_path, caplog):
    opened(folder, tmp_path)
    write(folder / "2.tar", 2, SAMPLES + 40)
    caplog.set_level(logging.WARNING)

    samples = opened(folder, tmp_path)

    assert list(samples.parts) == [5, 5, 45, 5]
    assert contents(samples).keys() > expected().keys()
    [message] = caplog.messages
    assert "1 shard was indexed again" in message
    assert "2.tar': it had 10240 bytes when it was indexed, and has" in message


def test_a_shard_of_the_same_size_that_was_written_later_is_indexed_again(folder, tmp_path):
    opened(folder, tmp_path)
    write(folder / "2.tar", 7)
    os.utime(folder / "2.tar", ns=(0, 1_000_000_000))
    samples = opened(folder, tmp_path)
    assert samples.read(2 * SAMPLES, ["jpg"]).fields == {"jpg": b"jpg 0 of 7"}


ROWS = st.builds(
    ShardRow,
    st.builds(Stat, st.integers(0, 1 << 40), st.text(max_size=5)),
    st.dictionaries(st.sampled_from([("jpg",), ("jpg", "txt"), ("flac", "json")]), st.integers(1, 70_000)),
    st.dictionaries(st.sampled_from(["duplicate member", "hidden"]), st.integers(1, 300)),
    st.sampled_from(["", "", "is empty"]),
    examples=st.dictionaries(st.sampled_from(["duplicate member", "hidden"]), st.text(max_size=3)),
)
FOLDERS = st.dictionaries(st.text("abcß0", min_size=1, max_size=4), ROWS, max_size=6)


@settings(max_examples=100, deadline=None)
@given(st.lists(FOLDERS, min_size=1, max_size=4))
def test_a_summary_holds_the_last_row_of_every_shard(updates):
    summary, rows = Summary(), {}
    for update in updates:
        summary = summary.updated(update)
        rows |= update
    if rows:
        summary = Summary.from_bytes(summary.to_bytes())
    assert len(summary) == len(rows)
    for reason, (name, member) in summary.examples.items():
        assert rows[name].examples[reason] == member
    number = summary.find(np.array([name.encode() for name in rows] + [b"absent"]))
    assert number[-1] == -1
    for name, s in zip(rows, number[:-1], strict=True):
        assert summary.size_S[s] == rows[name].stat.size
        assert summary.broken.get(name, "") == rows[name].broken
        for label, count in rows[name].samples.items():
            chosen = [each == label for each in summary.samples.labels]
            assert summary.samples.per_shard(len(summary), chosen)[s] == count
        only = np.arange(len(summary)) == s
        assert summary.samples.totals(only) == rows[name].samples
        assert summary.refused.totals(only) == rows[name].refused


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_changed_byte_of_an_index_is_noticed(data):
    row = ShardRow(Stat(5120, "7"), {("jpg", "txt"): 3, ("jpg",): 1}, {"duplicate member": 2}, "is odd")
    row = replace(row, examples={"duplicate member": "a.jpg"})
    index = ShardIndex(
        stat=Stat(5120, "7"),
        signatures=(("jpg", "txt"), ("jpg",)),
        keys=np.frombuffer(b"abcd", np.uint8),
        key_end_K=np.array([2, 4], np.uint8),
        signature_K=np.array([0, 1], np.uint8),
        block_M=np.array([1, 3, 5], np.uint8),
        size_M=np.array([500, 3, 70], np.uint16),
        crc32_M=np.array([1, 2, 3], np.uint32),
        examples={"duplicate member": "a.jpg"},
    )
    kind, written = data.draw(
        st.sampled_from([(ShardIndex, index), (Summary, Summary().updated({"s": row}))])
    )
    content = written.to_bytes()
    damaged = bytearray(content)
    damaged[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        read = kind.from_bytes(bytes(damaged))
    except Unusable:
        return
    assert read.to_bytes() == content, "it was read, so it must be what was written"


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: b"\0" * len(content),
        lambda content: content.replace(b'version\\": 1', b'version\\": 9'),
    ],
    ids=["empty", "cut", "zeros", "version"],
)
@pytest.mark.parametrize("name", ["shards.index", "1.tar.index"])
def test_indexes_that_are_damaged_or_of_another_version_are_made_again(folder, tmp_path, caplog, harm, name):
    opened(folder, tmp_path)
    before = index_files(folder)
    (folder / name).write_bytes(harm(before[name]))
    if name != "shards.index":
        (folder / "shards.index").unlink()
    caplog.set_level(logging.WARNING)

    assert contents(opened(folder, tmp_path)) == expected()

    assert index_files(folder) == before
    [message] = caplog.messages
    assert (
        "made again" in message if name == "shards.index" else "1.tar': its index cannot be used" in message
    )


def test_stamps_of_two_kinds_or_none_do_not_make_a_shard_stale():
    assert difference(Stat(5, "ETag=a"), Stat(5, "ETag=b"))
    assert difference(Stat(5, "1"), Stat(5, "2"))
    for other in ("LastModified=1.0", ""):
        assert not difference(Stat(5, "ETag=a"), Stat(5, other))
        assert not difference(Stat(5, other), Stat(5, "ETag=a"))
        assert "it had 5 bytes" in difference(Stat(5, "ETag=a"), Stat(6, other))


def test_a_shard_that_changes_during_a_run_is_an_error_of_its_samples(folder, tmp_path):
    samples = opened(folder, tmp_path)
    write(folder / "1.tar", 1, SAMPLES + 40)
    (folder / "1.tar.index").unlink()
    assert samples.read(0, ["jpg"]).key == "0.tar/0"
    with pytest.raises(DataError, match=r"1\.tar' has changed since this run began: it had 10240 bytes"):
        samples.read(SAMPLES, ["jpg"])


@pytest.mark.parametrize("way", ["in place", "by another file"])
def test_a_shard_of_the_same_size_that_changes_between_two_reads_is_not_read_at_old_offsets(
    folder, tmp_path, way
):
    samples = opened(folder, tmp_path)
    assert samples.read(SAMPLES, ["jpg"]).fields == {"jpg": b"jpg 0 of 1"}
    write(tmp_path / "new.tar", 7)
    os.utime(tmp_path / "new.tar", ns=(0, 1_000_000_000))
    if way == "in place":
        (folder / "1.tar").write_bytes((tmp_path / "new.tar").read_bytes())
        os.utime(folder / "1.tar", ns=(0, 1_000_000_000))
    else:
        os.replace(tmp_path / "new.tar", folder / "1.tar")

    with pytest.raises(
        DataError, match=r"1\.tar' has changed since this run began: .*\(then 2\d{3}-.*now 1970-01-01 "
    ):
        samples.read(SAMPLES + 1, ["jpg"])
    assert samples.read(0, ["jpg"]).fields == {"jpg": b"jpg 0 of 0"}


# ------------------------------------------------------------------------------------ broken shards


def test_broken_shards_have_the_samples_before_the_break_and_are_named(folder, tmp_path):
    content = (folder / "1.tar").read_bytes()
    (folder / "1.tar").write_bytes(content[:3000])
    (folder / "2.tar").write_bytes(b"no tar" * 300)
    for _ in range(2):  # as it is scanned, and from the summary
        samples = opened(folder, tmp_path)
        assert samples.broken == {
            f"{folder}/1.tar": "cut short at byte 3000; 2 samples before it are used",
            f"{folder}/2.tar": "is no tar archive",
        }
        assert list(samples.parts) == [5, 2, 0, 5]
        assert len(contents(samples)) == 12


def test_a_shard_that_cannot_be_read_is_asked_for_again_at_the_next_start(folder, tmp_path):
    with serving(folder) as store:
        store.fail("1.tar", "short")
        samples = opened(f"{store.url}/{{0..3}}.tar", tmp_path / "cache")
        assert list(samples.parts) == [5, 0, 5, 5]
        assert [*samples.broken] == [f"{store.url}/1.tar"]
        store.mend()
        assert list(opened(f"{store.url}/{{0..3}}.tar", tmp_path / "cache").parts) == [5] * 4
