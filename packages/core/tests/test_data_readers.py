"""Readers: manifests, tar shards as three tools write them, folders; and what they refuse."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from spectranet.contracts import SampleSet
from spectranet.data.options import OpenOptions
from spectranet.data.readers import readers
from spectranet.data.shards import expand_shards, list_shards
from spectranet.data.stores import patience
from spectranet.errors import DataError

READERS = {reader.name: reader for reader in readers()}
PAIR = OpenOptions(needs=(("jpg", "jpeg"), ("txt",)))
SHARED = Path(__file__).parents[4] / "shared" / "data"


def open_path(path: Path | str, options: OpenOptions = PAIR) -> SampleSet:
    reader = next(reader for reader in readers() if reader.matches(str(path)))
    return reader.open(str(path), options)


def contents(samples: SampleSet, *wanted: str) -> dict[str, dict[str, bytes]]:
    read = [samples.read(row, wanted) for row in range(len(samples))]
    return {raw.key: dict(raw.fields) for raw in read}


def write_tar(path: Path, members: dict[str, bytes], **options) -> Path:
    with tarfile.open(path, "w", **options) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def write_jsonl(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# ------------------------------------------------------------------------------------------ tars


def test_shards_of_webdatasets_writer(tmp_path):
    webdataset = pytest.importorskip("webdataset", exc_type=ImportError)
    with webdataset.ShardWriter(str(tmp_path / "%03d.tar"), maxcount=2, verbose=0) as writer:
        for i in range(5):
            writer.write({"__key__": f"s{i}", "jpg": f"image {i}".encode(), "txt": f"text {i}"})
    samples = open_path(f"{tmp_path}/{{000..002}}.tar")
    assert len(samples) == 5
    assert contents(samples, "jpg", "txt")["002.tar/s4"] == {"jpg": b"image 4", "txt": b"text 4"}


def test_an_archive_of_plain_tar_whose_members_are_no_neighbours(tmp_path):
    for i in range(3):
        (tmp_path / f"p{i}.JPG").write_bytes(f"image {i}".encode())
        (tmp_path / f"p{i}.txt").write_bytes(f"text {i}".encode())
    command = "tar cf all.tar --sort=name ./*.JPG ./*.txt"
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    samples = open_path(tmp_path / "all.tar")
    assert contents(samples, "jpg", "txt") == {
        f"all.tar/p{i}": {"jpg": f"image {i}".encode(), "txt": f"text {i}".encode()} for i in range(3)
    }


def img2dataset_shard(path: Path, count: int = 2) -> Path:
    """The layout of img2dataset and LAION: jpg, txt and json of a sample follow each other."""
    members = {}
    for i in range(count):
        members[f"{i:09d}.jpg"] = f"image {i}".encode()
        members[f"{i:09d}.txt"] = f"text {i}".encode()
        members[f"{i:09d}.json"] = json.dumps({"caption": f"caption {i}", "status": "success"}).encode()
    return write_tar(path, members)


def test_shards_of_img2dataset_in_a_folder_with_their_parquet(tmp_path):
    for shard in ("00000", "00001"):
        img2dataset_shard(tmp_path / f"{shard}.tar")
        (tmp_path / f"{shard}.parquet").write_bytes(b"")
        (tmp_path / f"{shard}_stats.json").write_text("{}")
    samples = open_path(tmp_path)
    assert list(contents(samples)) == [
        f"{shard}.tar/{i:09d}" for shard in ("00000", "00001") for i in range(2)
    ]


def test_an_entry_of_the_json_member_is_a_field_when_it_is_asked_for(tmp_path):
    path = img2dataset_shard(tmp_path / "00000.tar")
    samples = open_path(path, OpenOptions(needs=(("json.caption",),)))
    assert samples.read(1, ["json.caption"]).fields == {"json.caption": b"caption 1"}


def test_dots_folders_and_long_names_make_keys_as_webdataset_does(tmp_path):
    long = "d" * 120 + "/" + "n" * 130
    members = {"a/x.y/1.seg.PNG": b"1", f"{long}.jpg": b"2", "./b.jpg": b"3", "a/.hidden.jpg": b"4"}
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        samples = open_path(write_tar(tmp_path / "s.tar", members, format=form), OpenOptions())
        assert contents(samples, "jpg", "seg.png") == {
            "s.tar/a/x.y/1": {"seg.png": b"1"},
            f"s.tar/{long}": {"jpg": b"2"},
            "s.tar/b": {"jpg": b"3"},
        }


def test_samples_without_a_needed_field_are_left_out_and_counted(tmp_path):
    path = write_tar(tmp_path / "s.tar", {"0.jpg": b"0", "0.txt": b"0", "1.jpg": b"1", "2.jpeg": b"2"})
    samples = open_path(path)
    assert list(contents(samples)) == ["s.tar/0"]
    assert samples.dropped == {"sample without txt": 2}


def test_links_upward_names_and_duplicates_are_refused_and_counted(tmp_path):
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("ok.jpg", "../up.jpg", "/etc/passwd.jpg", "a/../../b.jpg", "ok.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            info = tarfile.TarInfo("link.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    samples = open_path(path, OpenOptions())
    assert list(contents(samples)) == ["s.tar/ok"]
    assert samples.dropped == {
        "name outside the archive (as s.tar/../up.jpg)": 3,
        "duplicate member (as s.tar/ok.jpg)": 1,
        "link, device or sparse member (as s.tar/link.jpg)": 2,
    }


def test_a_shard_that_shrinks_or_vanishes_after_indexing_is_an_error_of_the_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "PATIENCE", patience.Patience(delays_s=(0.0,), rest_s=0.0))
    path = write_tar(tmp_path / "s.tar", {"0.jpg": b"x" * 600})
    samples = open_path(path, OpenOptions())
    assert samples.read(0, ["jpg"]).fields["jpg"] == b"x" * 600
    os.truncate(path, 700)
    with pytest.raises(
        DataError, match=r"s\.tar' has changed since this run began: it had 10240 bytes when .* has 700"
    ):
        samples.read(0, ["jpg"])
    path.unlink()
    with pytest.raises(DataError, match=r"s\.tar' cannot be read .*does not exist"):
        samples.read(0, ["jpg"])


def test_patterns_name_their_shards(tmp_path):
    for name in ("a-08", "a-09", "a-10", "b-08"):
        write_tar(tmp_path / f"{name}.tar", {"0.jpg": b""})

    def names(pattern: str) -> list[str]:
        return [Path(path).stem for path in expand_shards(f"{tmp_path}/{pattern}")]

    assert names("a-{08..10}.tar") == ["a-08", "a-09", "a-10"]
    assert names("{a,b}-08.tar") == ["a-08", "b-08"]
    assert names("{a,b}-{08..08}.tar") == ["a-08", "b-08"]
    assert names("a-*.tar") == ["a-08", "a-09", "a-10"]
    assert names("") == ["a-08", "a-09", "a-10", "b-08"]
    with pytest.raises(DataError, match=r"1 of 2 shards are missing: '.*/b-09\.tar'$"):
        list_shards(f"{tmp_path}/{{a,b}}-09.tar")
    with pytest.raises(DataError, match="no tar shard matches"):
        names("c-*.tar")
    with pytest.raises(DataError, match="compressed"):
        names("a.tar.gz")


# ------------------------------------------------------------------------------------- manifests


def write_pictures(folder: Path, count: int = 3) -> None:
    (folder / "images").mkdir()
    for i in range(count):
        (folder / "images" / f"{i}.png").write_bytes(f"image {i}".encode())


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv"])
def test_manifests_give_files_by_path_and_text_as_it_is(tmp_path, suffix):
    write_pictures(tmp_path)
    rows = [
        {"Image": "images/0.png", "text": 'a "zero",\nin two lines', "split": "train"},
        {"Image": "images/1.png", "text": "images/1.png", "split": "test"},
        {"Image": "./images/../images/2.png", "text": "zwei ü", "split": "train"},
    ]
    path = tmp_path / f"m.{suffix}"
    if suffix == "jsonl":
        write_jsonl(path, rows)
    else:
        with open(path, "w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, rows[0], delimiter="," if suffix == "csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    options = OpenOptions(where={"split": "train"}, needs=(("image",), ("text", "caption")))
    read = [open_path(path, options).read(row, ("image", "text", "caption")) for row in (0, 1)]
    assert [dict(raw.fields) for raw in read] == [
        {"image": b"image 0", "text": b'a "zero",\nin two lines'},
        {"image": b"image 2", "text": "zwei ü".encode()},
    ]
    third_line = {"jsonl": 3, "csv": 5, "tsv": 5}[suffix]
    assert read[1].key == f"m.{suffix}:{third_line}"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_csv_has_the_separator_of_its_header(tmp_path, separator):
    rows = [["Image", "text"], ["a.png", "one, two; three\tfour"]]
    with open(tmp_path / "m.csv", "w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=separator).writerows(rows)

    samples = open_path(tmp_path / "m.csv", OpenOptions())

    assert samples.found == {"image": 1, "text": 1}
    assert samples.read(0, ["text"]).fields == {"text": b"one, two; three\tfour"}


def test_what_a_column_holds_goes_by_its_name(tmp_path):
    (tmp_path / "f").write_bytes(b"content of f")
    row = {"text": "f", "caption": "f", "title": "f", "text_file": "f", "image": "f", "caption_path": "f"}
    samples = open_path(write_jsonl(tmp_path / "m.jsonl", [row]), OpenOptions(literal=frozenset({"title"})))
    literal = {name for name, value in samples.read(0, list(row)).fields.items() if value == b"f"}
    assert literal == {"text", "caption", "title"}


def test_rows_that_lack_a_field_or_cannot_be_parsed_are_left_out_and_counted(tmp_path):
    write_pictures(tmp_path)
    path = write_jsonl(
        tmp_path / "m.jsonl",
        [{"image": "images/0.png", "text": "a"}, {"image": "images/1.png"}, {"image": None, "text": ""}, [1]],
    )
    with open(path, "ab") as file:
        file.write(b'\n{"image": "images/2.png", "text": "cut\n\xff\xfe\n')
    samples = open_path(path, OpenOptions(needs=(("image",), ("text",))))
    assert len(samples) == 1
    assert samples.dropped == {
        "row without text (first line 2)": 1,
        "row without image and text (first line 3)": 1,
        "row that cannot be parsed (first line 4: it is no JSON object with the columns' names)": 3,
    }


DEEP = b'{"caption": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
HALF = b'{"caption": "cut \\ud83d", "image": "\\ud83d.png", "key": "\\ud83d"}'


def test_json_that_is_nested_too_deep_or_holds_half_a_character_is_an_error_of_its_sample(tmp_path):
    members = {"a.json": DEEP, "b.json": HALF, "c.json": b'{"caption": "whole"}'}
    samples = open_path(write_tar(tmp_path / "s.tar", members), OpenOptions(needs=(("json.caption",),)))
    with pytest.raises(DataError, match="its JSON cannot be parsed: maximum recursion depth"):
        samples.read(0, ["json.caption"])
    with pytest.raises(DataError, match=r"'json\.caption' holds half a character \(\\ud83d\)"):
        samples.read(1, ["json.caption"])
    assert samples.read(2, ["json.caption"]).fields == {"json.caption": b"whole"}


def test_rows_that_are_nested_too_deep_or_hold_half_a_character_are_no_error_of_their_manifest(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b"\n".join([DEEP, HALF, b'{"caption": "whole"}']))
    samples = open_path(path, OpenOptions())
    assert list(samples.dropped.values()) == [1] and "maximum recursion depth" in next(iter(samples.dropped))
    for column in ("caption", "image"):
        with pytest.raises(DataError, match=rf"m\.jsonl:2: '{column}' holds half a character"):
            samples.read(0, [column])
    assert samples.read(1, ["caption"]).fields == {"caption": b"whole"}


@pytest.mark.parametrize("outside", ["../secret", "/etc/passwd", "a/../../secret"])
def test_paths_outside_the_manifests_folder_are_refused(tmp_path, outside):
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "data").mkdir()
    samples = open_path(write_jsonl(tmp_path / "data" / "m.jsonl", [{"image": outside}]), OpenOptions())
    with pytest.raises(DataError, match=r"m\.jsonl:1: column 'image' names .* outside the manifest's folder"):
        samples.read(0, ["image"])


def test_a_missing_file_is_an_error_that_names_line_and_file(tmp_path):
    samples = open_path(write_jsonl(tmp_path / "m.jsonl", [{"image": "gone.png"}]), OpenOptions())
    with pytest.raises(DataError, match=r"m\.jsonl:1: file 'gone\.png' does not exist"):
        samples.read(0, ["image"])


def test_a_where_column_that_does_not_exist_is_an_error_with_a_suggestion(tmp_path):
    path = write_jsonl(tmp_path / "m.jsonl", [{"image": "x", "split": "train"}])
    with pytest.raises(
        DataError, match=r"no column 'spilt'.*Did you mean 'split'\?\n  columns: image, split"
    ):
        open_path(path, OpenOptions(where={"spilt": "train"}))


def test_where_keeps_rows_with_one_of_several_values_and_names_those_that_no_row_has(tmp_path):
    rows = [{"text": f"t{i}", "Split": split} for i, split in enumerate(["train", "val", "test", "train"])]
    path = write_jsonl(tmp_path / "m.jsonl", rows)

    samples = open_path(path, OpenOptions(where={"split": ["train", "val"]}))

    assert list(contents(samples, "text").values()) == [{"text": f"t{i}".encode()} for i in (0, 1, 3)]
    assert samples.found == {"text": 3, "split": 3}
    with pytest.raises(
        DataError, match=r"no row with split=vall \(from where\)\. Did you mean 'val'\?"
    ) as error:
        open_path(path, OpenOptions(where={"split": ["train", "vall"], "sort": "x"}))
    assert "values: test, train, val" in str(error.value)
    assert "no column 'sort'" in str(error.value), "every problem is told"


def test_a_where_value_that_no_row_has_is_answered_with_a_near_one_and_those_there_are(tmp_path):
    path = write_jsonl(tmp_path / "m.jsonl", [{"text": "a", "split": split} for split in ("train", "val")])

    with pytest.raises(DataError) as error:
        open_path(path, OpenOptions(where={"split": "trian"}))

    assert str(error.value).splitlines() == [
        f"manifest '{path}' has no row with split=trian (from where). Did you mean 'train'?",
        "  values: train, val",
    ]


def test_a_manifest_that_is_missing_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jsonl' does not exist"):
        open_path(tmp_path / "gone.jsonl")


# --------------------------------------------------------------------------------------- folders


def test_files_with_the_same_stem_are_a_sample(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.jpg", "b.txt", "sub/a.1.JPEG", "sub/a.1.txt", "c.jpg", ".hidden.jpg", "README"):
        (tmp_path / name).write_bytes(name.encode())
    samples = open_path(tmp_path)
    assert contents(samples, "jpg", "jpeg", "txt") == {
        "b": {"jpg": b"b.jpg", "txt": b"b.txt"},
        "sub/a.1": {"jpeg": b"sub/a.1.JPEG", "txt": b"sub/a.1.txt"},
    }
    assert samples.dropped == {"sample without txt (first 'c')": 1}


def test_of_files_with_the_same_stem_and_extension_the_first_is_used(tmp_path):
    for name in ("a.JPG", "a.jpg", "b.JPG", "b.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    samples = open_path(tmp_path, OpenOptions())
    assert contents(samples, "jpg") == {"a": {"jpg": b"a.JPG"}, "b": {"jpg": b"b.JPG"}}
    assert samples.dropped == {"second file with the same stem and extension (first 'a.jpg')": 2}


# ----------------------------------------------------------------------------------------- all


@pytest.mark.parametrize("kind", ["manifest", "webdataset", "folder"])
def test_sample_sets_pickle(tmp_path, kind):
    if kind == "manifest":
        path = write_jsonl(tmp_path / "m.jsonl", [{"txt": "a"}, {"txt": "b"}])
    elif kind == "webdataset":
        path = write_tar(tmp_path / "s.tar", {"a.txt": b"a", "b.txt": b"b"})
    else:
        path = tmp_path
        for name in "ab":
            (tmp_path / f"{name}.txt").write_text(name)
    samples = READERS[kind].open(str(path), OpenOptions())
    before = contents(samples, "txt")
    assert contents(pickle.loads(pickle.dumps(samples)), "txt") == before
    assert [fields["txt"] for fields in before.values()] == [b"a", b"b"]


@pytest.mark.parametrize("kind", ["webdataset", "folder"])
def test_where_needs_a_manifest(tmp_path, kind):
    with pytest.raises(DataError, match="'where' needs the columns of a manifest"):
        READERS[kind].open(str(tmp_path), OpenOptions(where={"split": "train"}))


def test_reading_needs_no_torch():
    code = "import sys, spectranet.data.readers, spectranet.data.source; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real sample data is not beside the project")
def test_real_data_is_found_by_split():
    def count(where: dict[str, str]) -> int:
        needs = OpenOptions(where=where, needs=(("image",), ("text",)))
        return len(open_path(SHARED / "emoji" / "captions.jsonl", needs))

    assert count({"split": "test"}) == 177
    assert count({"split": "train"}) == 3635
    clips = open_path(SHARED / "clips" / "captions.jsonl", OpenOptions(needs=(("video",), ("text",))))
    assert clips.read(0, ["video", "text"]).fields["video"][4:8] == b"ftyp"
