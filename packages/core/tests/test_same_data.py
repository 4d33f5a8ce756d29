"""Data that changed between two starts, or differs between ranks, is noticed: by numbers, names and sizes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from launch import launch
from numbers_modality import numbers
from ranges import serving
from small_shards import SHARDS, write, write_folder

from spectranet.config import DataConfig, SourceConfig
from spectranet.data.corpus import describe_corpus
from spectranet.data.readers import readers
from spectranet.data.shards import list_shards
from spectranet.data.source import open_sources
from spectranet.train.changes import check_data
from spectranet.train.checkpoint import Checkpoint, CheckpointError

MODALITIES = {"a": numbers("a", "jpg"), "b": numbers("b", "txt")}


def described(path: Path) -> dict:
    """As a checkpoint holds it, that is as JSON."""
    source = SourceConfig(path=str(path), modalities=["a", "b"])
    data = DataConfig(cache_dir=str(path.parent / "cache"))
    return json.loads(json.dumps(describe_corpus(open_sources({"s": source}, MODALITIES, readers(), data))))


def told(before: dict, now: dict, *, accept: bool = False) -> list[str]:
    return check_data(Checkpoint(Path("step-3"), {"step": 3, "sources": before}), now, accept=accept)


@pytest.fixture
def shards(tmp_path) -> Path:
    return write_folder(tmp_path / "shards")


def files(folder: Path) -> Path:
    folder.mkdir()
    for i in range(4):
        (folder / f"{i}.jpg").write_text(f"{i}")
        (folder / f"{i}.txt").write_text(f"{i}")
    return folder


def rows(folder: Path, name: str = "rows.jsonl") -> Path:
    """A manifest beside the files."""
    manifest = files(folder) / name
    manifest.write_text("".join(json.dumps({"jpg": f"{i}.jpg", "txt": f"{i}"}) + "\n" for i in range(4)))
    return manifest


# ------------------------------------------------------------------------------------ what a source is


def test_a_copy_elsewhere_is_the_same_data(shards, tmp_path):
    copy = Path(shutil.copytree(shards, tmp_path / "other" / "copy", copy_function=shutil.copyfile))
    assert told(described(shards), described(copy)) == []
    assert told(described(rows(tmp_path / "m")), described(rows(tmp_path / "n", "pairs.jsonl"))) == []
    assert told(described(files(tmp_path / "f")), described(files(tmp_path / "g"))) == []


def test_a_shard_in_the_place_of_another_of_as_many_samples_is_noticed_by_its_name(shards):
    before = described(shards)
    (shards / f"{SHARDS - 1}.tar").unlink()
    write(shards / "7.tar", 7)
    with pytest.raises(CheckpointError, match="source 's' has 16 samples in 4 shards as before, but not the"):
        told(before, described(shards))


def test_a_shard_of_as_many_samples_under_the_old_name_is_noticed_by_its_size(shards):
    before = described(shards)
    with (shards / "1.tar").open("ab") as file:
        file.write(bytes(10240))
    with pytest.raises(CheckpointError, match="names, sizes or rows of its files differ"):
        told(before, described(shards))


def test_a_row_that_was_changed_is_noticed_and_one_that_is_left_out_is_not(tmp_path):
    manifest = rows(tmp_path / "m")
    before = described(manifest)
    manifest.write_text(manifest.read_text() + '{"note": "no picture"}\n')
    assert told(before, described(manifest)) == []
    manifest.write_text(manifest.read_text().replace('"txt": "2"', '"txt": "5"'))
    with pytest.raises(CheckpointError, match="source 's' has 4 samples in 1 shard as before, but not the"):
        told(before, described(manifest))


def test_a_file_with_another_name_is_noticed(tmp_path):
    folder = files(tmp_path / "f")
    before = described(folder)
    for suffix in ("jpg", "txt"):
        (folder / f"3.{suffix}").rename(folder / f"9.{suffix}")
    with pytest.raises(CheckpointError, match="not the same"):
        told(before, described(folder))


def test_a_copy_in_a_store_is_the_same_data_however_its_addresses_are_signed(shards):
    here = list_shards(f"{shards}/{{0,1}}.tar").identity
    with serving(shards) as store:
        signed = [list_shards(f"{store.url}/{{0,1}}.tar?sig={i}").identity for i in range(2)]
    assert signed == [here, here]


# ------------------------------------------------------------------------------------------- resuming


def test_changed_data_is_refused_with_the_numbers_and_what_to_do(shards):
    before = described(shards)
    write(shards / "4.tar", 4)
    with pytest.raises(CheckpointError) as caught:
        told(before, described(shards))
    assert str(caught.value).splitlines() == [
        "step-3 was trained on other data:",
        "  source 's' had 16 samples in 4 shards, now 20 samples in 5 shards",
        "  the order of all samples of a source depends on its shards: bring the old ones back",
        "  or go on with these in another order:  train.checkpoint.accept_changed_data=true",
        "  or start anew:  another run_dir",
    ]


def test_changed_data_that_is_accepted_is_told(shards):
    before = described(shards)
    write(shards / "4.tar", 4)
    assert told(before, described(shards), accept=True) == [
        "source 's' had 16 samples in 4 shards, now 20 samples in 5 shards: from here on the order is another"
    ]


def test_a_shard_that_cannot_be_read_any_more_is_named_as_the_reason(shards):
    before = described(shards)
    (shards / "1.tar").write_bytes(b"no tar at all" * 1000)
    with pytest.raises(CheckpointError, match=r"cannot be read whole: then 0, now 1"):
        told(before, described(shards))


def test_a_reader_that_says_nothing_of_its_files_is_judged_by_its_numbers(shards):
    before, now = described(shards), described(shards)
    now["s"]["identity"] = None
    assert told(before, now) == []


# ---------------------------------------------------------------------------------------------- ranks


def test_ranks_with_other_shards_of_as_many_samples_are_refused_by_name(shards, tmp_path):
    other = Path(shutil.copytree(shards, tmp_path / "other"))
    (other / f"{SHARDS - 1}.tar").rename(other / "7.tar")
    script = Path(__file__).parent / "ranks" / "same_data.py"
    assert launch(script, shards, other, ranks=2).split() == ["refused"] * 2
