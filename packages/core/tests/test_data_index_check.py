"""What ``spectranet data index --check`` says, and what is said of paths that are no shards."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from small_shards import flip, index_files, opened, run_index, write, write_folder

from spectranet.data.paths import missing_source
from spectranet.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "shards")


def refusal(*arguments: object) -> str:
    with pytest.raises(DataError) as caught:
        run_index(*arguments)
    return str(caught.value)


# ------------------------------------------------------------------------------------------- check


def test_check_names_what_is_stale_and_writes_nothing(folder):
    said = refusal(folder, "--check").splitlines()
    assert said[:2] == ["4 of 4 shards have no fresh index:", f"  {folder}/0.tar: it has no index"]
    assert said[-1] == f"  index them:  spectranet data index '{folder}'"
    assert not index_files(folder)
    run_index(folder)
    assert run_index(folder, "--check") == "4 shards have a fresh index\n"

    os.utime(folder / "2.tar", ns=(0, 0))

    said = refusal(folder, "--check")
    assert said.startswith("1 of 4 shards have no fresh index:")
    assert f"{folder}/2.tar: it was changed after it was indexed (then 20" in said
    assert "stamp" not in said


def test_a_damaged_shard_is_to_be_fetched_and_not_to_be_indexed(folder):
    assert "4 of 4" in refusal(folder, "--check", "--checksums")
    run_index(folder, "--checksums")
    assert "match" in run_index(folder, "--check", "--checksums")
    flip(folder / "1.tar", b"txt 4 of 1")

    said = refusal(folder, "--check", "--checksums").splitlines()

    assert said[:2] == [
        "1 of 4 shards are not what was indexed:",
        f"  {folder}/1.tar: the bytes of sample '4' are not those that were indexed",
    ]
    assert said[2].startswith("  fetch them again, then:")
    assert not [line for line in said if "index them" in line]
    (folder / "1.tar").unlink()
    write(folder / "1.tar", 1)
    run_index(folder, "--checksums")
    assert "match" in run_index(folder, "--check", "--checksums")


def test_shards_with_checksums_are_not_read_again_and_that_is_said(folder):
    assert "not read" not in run_index(folder, "--checksums")
    said = run_index(folder, "--checksums")
    assert "4 of 4 shards have a fresh index with checksums and were not read" in said
    assert said.endswith(f"spectranet data index '{folder}' --check --checksums\n")


def test_check_fails_on_shards_that_were_broken_when_they_were_indexed(folder):
    (folder / "1.tar").write_bytes(b"no tar" * 300)
    run_index(folder)

    said = refusal(folder, "--check").splitlines()

    assert said[:2] == ["1 of 4 shards are broken:", f"  {folder}/1.tar: is no tar archive"]
    assert "data.failure_limit" in said[-1]


@pytest.mark.parametrize("harm", ["deleted", "damaged", "old"])
def test_check_looks_at_the_summary_that_runs_rely_on(folder, harm):
    run_index(folder)
    summary = folder / "shards.index"
    old = summary.read_bytes()
    if harm == "deleted":
        summary.unlink()
    elif harm == "damaged":
        summary.write_bytes(b"x")
    else:
        write(folder / "1.tar", 1, 50)
        run_index(folder)
        summary.write_bytes(old)

    said = refusal(folder, "--check").splitlines()

    why = {"deleted": "it does not exist", "damaged": "it is damaged", "old": "1 of its rows are not"}[harm]
    assert said[0] == "1 folder summaries, by which runs open shards, do not fit:"
    assert said[1].startswith(f"  {summary}: ") and why in said[1]
    run_index(folder)
    assert "fresh" in run_index(folder, "--check")


def write_with_hidden(path: Path, name: str) -> None:
    with tarfile.open(path, "w") as tar:
        for each in ("0.jpg", name, f"{name}.second"):
            tar.addfile(tarfile.TarInfo(each))


def test_what_is_refused_is_told_with_the_first_member_from_scans_and_from_the_summary(folder, tmp_path):
    write_with_hidden(folder / "1.tar", ".one\x1b[2J")
    write_with_hidden(folder / "3.tar", ".three")
    why = "hidden file or no extension"
    for _ in range(2):
        assert f"refused: 4 × {why} (as 1.tar/.one\\x1b[2J)\n" in run_index(folder)
        assert opened(folder, tmp_path).dropped == {f"{why} (as 1.tar/.one\\x1b[2J)": 4}
    assert opened(folder / "3.tar", tmp_path).dropped == {why: 2}, "the folder's example is another shard's"


def test_a_long_path_is_printed_in_one_piece(tmp_path):
    folder = write_folder(tmp_path / ("long" * 40))
    assert str(folder) in run_index(folder)


# ------------------------------------------------------------------------------------------- paths


def test_a_manifest_is_not_indexed_and_nothing_is_left_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pairs.csv").write_text("image,text\n")
    Path("other.bin").write_text("x")

    assert "'pairs.csv' is a manifest, and a manifest needs no index" in refusal("pairs.csv")
    assert refusal("other.bin").startswith("'other.bin' is no tar by its name")
    assert sorted(os.listdir()) == ["other.bin", "pairs.csv"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "folder 'here' is empty"),
        (
            ["a.png", "b.png", "a.txt"],
            "holds no *.tar, but .png, .txt: a folder of files or a manifest needs",
        ),
        (["0.tar.gz"], "holds compressed tars ('0.tar.gz'), which cannot be read at random; decompress them"),
        (["x/0.tar"], "has its tars one level below; name them:  'here/*/*.tar'"),
    ],
)
def test_a_folder_without_shards_says_what_it_holds(tmp_path, monkeypatch, files, said):
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    for name in files:
        (Path("here") / name).parent.mkdir(exist_ok=True)
        (Path("here") / name).touch()

    assert said in refusal("here")


def test_a_folder_that_may_not_be_listed_says_so(tmp_path, monkeypatch):
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(os, "scandir", refuse)
    assert "closed' cannot be listed: Permission denied" in refusal(tmp_path / "closed")


def test_a_pattern_of_more_than_tars_names_what_is_none(folder):
    (folder / "notes.md").touch()
    assert "/*' stands for: 'notes.md' is no tar by its name" in refusal(f"{folder}/*")


def test_shards_that_are_missing_are_all_named(folder, monkeypatch):
    monkeypatch.chdir(folder)
    said = refusal("{0..5}.tar").splitlines()
    assert said[0] == "2 of 6 shards are missing: '4.tar', '5.tar'"
    assert said[1].endswith(f"the working directory, {folder}")


def test_a_manifest_elsewhere_is_told_to_be_read_from_local_disks():
    said = missing_source("http://localhost/x.csv")
    assert "read from local disks; shards (*.tar) from anywhere" in said and os.getcwd() not in said
