"""What a source that cannot be used says: what was looked for, what is there, and what mends it."""

from __future__ import annotations

import io
import json
import logging
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from numbers_modality import numbers

from spectranet import ConfigError, DataError
from spectranet.config import Config, DataConfig, EvalConfig, SourceConfig, TrainConfig
from spectranet.contracts import Reader
from spectranet.data.loader import EvalData, TrainStream
from spectranet.data.options import OpenOptions
from spectranet.data.readers import readers
from spectranet.data.source import open_source, open_sources

IMAGE = replace(numbers("image", "jpg"), fields=("jpg", "png", "image"))
TEXT = replace(numbers("text", "txt"), fields=("txt", "text", "caption"))
MODALITIES = {"image": IMAGE, "text": TEXT}


def refusal(path: Path | str, *modalities: str, section: str = "data", **options) -> str:
    """The message of a source ``p`` that cannot be opened."""
    source = SourceConfig(path=str(path), modalities=list(modalities or ("image",)), **options)
    with pytest.raises(ConfigError) as caught:
        open_sources({"p": source}, MODALITIES, readers(), DataConfig(), section)
    return str(caught.value)


def write_rows(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# ---------------------------------------------------------------------------------- unusual names


def test_an_unusual_column_is_named_with_the_option_that_takes_it(tmp_path):
    path = write_rows(tmp_path / "m.jsonl", *[{"id": i, "picture": "x", "caption": "a"} for i in range(3)])

    assert refusal(path, "image", "text").splitlines() == [
        f"source 'p': no sample in '{path}' can be used: 3 rows without image (first line 1)",
        "  image: looked for jpg, png, image; found only id, picture, caption",
        "  if one of them holds it, say so:  data.sources.p.fields.image=picture",
    ]
    (source,) = open_sources(
        {"p": SourceConfig(path=str(path), modalities=["image"], fields={"image": "picture"})},
        MODALITIES,
        readers(),
        DataConfig(),
    )
    assert len(source) == 3


def test_an_evaluation_source_is_told_its_own_option(tmp_path):
    path = write_rows(tmp_path / "m.jsonl", {"picture": "x"})
    source = SourceConfig(path=str(path), modalities=["image"])

    with pytest.raises(ConfigError, match=r"eval\.sources\.p\.fields\.image=picture"):
        EvalData(Config(eval=EvalConfig(sources={"p": source})), MODALITIES, readers())


@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_unusual_extensions_are_named_too(tmp_path, kind):
    path = tmp_path / "s.tar" if kind == "tar" else tmp_path
    if kind == "tar":
        with tarfile.open(path, "w") as tar:
            for name in ("0.jfif", "0.txt"):
                tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    else:
        for name in ("0.jfif", "0.txt"):
            (tmp_path / name).touch()

    message = refusal(path, "image", "text")

    assert "1 sample without image" in message
    assert "found only jfif, txt" in message and "data.sources.p.fields.image=jfif" in message


def test_a_long_list_of_columns_is_cut(tmp_path):
    path = write_rows(tmp_path / "m.jsonl", {f"c{i}": "x" for i in range(50)})

    assert "c11, …\n" in refusal(path) and "c12" not in refusal(path)


def test_rows_left_out_are_counted_in_the_plural(tmp_path):
    path = write_rows(tmp_path / "m.jsonl", {"text": "a"}, {"text": ""}, {}, [1])
    source = open_source(
        "p", SourceConfig(path=str(path), modalities=["text"]), MODALITIES, readers(), DataConfig()
    )

    assert source.describe() == (
        "p: 1 samples of text (3 left out: 2 rows without text (first line 2); "
        "1 row that cannot be parsed (first line 4: it is no JSON object with the columns' names))"
    )


def test_values_that_no_row_has_together_are_named_together(tmp_path):
    rows = [{"text": "a", "split": "train", "lang": "en"}, {"text": "a", "split": "val", "lang": "de"}]

    message = refusal(
        write_rows(tmp_path / "m.jsonl", *rows), "text", where={"split": "train", "lang": ["de"]}
    )

    assert message.splitlines()[1] == "  where: no row has split=train, lang=de"


# ------------------------------------------------------------------------------------------- paths


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("pictues.jsonl", {}),
        ("pictues", {}),
        ("pictues.tar", {}),
        ("pictues", {"format": "folder"}),
        ("pictues", {"format": "manifest"}),
        ("pictues", {"format": "webdataset"}),
        ("pictues/below/it.parquet", {}),
    ],
)
def test_a_missing_path_is_told_with_a_near_name_and_where_it_was_looked_for(
    tmp_path, monkeypatch, path, options
):
    monkeypatch.chdir(tmp_path)
    first = Path(path).parts[0]
    near = first.replace("pictues", "pictures")
    (tmp_path / near).mkdir()

    assert refusal(path, **options).splitlines() == [
        f"source 'p': '{path}' does not exist. Did you mean '{near}'?",
        f"  looked at: {tmp_path / path}  (source paths are relative to the working directory)",
    ]


def test_a_pattern_without_a_shard_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert refusal("s-*.tar").endswith(f"no tar shard matches 's-*.tar'\n  looked at: {tmp_path}/s-*.tar")


def test_a_file_that_no_reader_takes_lists_the_loaded_formats(tmp_path):
    path = tmp_path / "pictures.list"
    path.touch()
    loaded = [*readers(), Reader("lmdb", lambda path: False, lambda path, options: ())]
    source = SourceConfig(path=str(path), modalities=["image"])

    with pytest.raises(ConfigError) as caught:
        open_sources({"p": source}, MODALITIES, loaded, DataConfig(), "eval")

    assert str(caught.value).splitlines() == [
        f"source 'p': no reader takes '{path}' by its name; formats: folder, lmdb, manifest, webdataset",
        "  if it has one of them, say so:  eval.sources.p.format=folder",
    ]


def test_a_path_that_is_no_file_is_left_to_a_reader_that_takes_it():
    class Two:
        def __len__(self) -> int:
            return 2

    remote = Reader("bucket", lambda path: path.startswith("bucket:"), lambda path, options: Two())
    source = SourceConfig(path="bucket:pictures", modalities=["image"])

    assert len(open_source("p", source, MODALITIES, [*readers(), remote], DataConfig())) == 2


# ---------------------------------------------------------------------------------- empty, broken


@pytest.mark.parametrize(
    ("name", "content", "ending"),
    [
        ("empty.jsonl", "", "is empty"),
        ("blank.jsonl", "\n\n", "is empty"),
        ("empty.csv", "", "is empty"),
        ("header.csv", "image,text\n", "is empty but for its header"),
    ],
)
def test_an_empty_manifest_is_called_empty(tmp_path, name, content, ending):
    (tmp_path / name).write_text(content)

    assert refusal(tmp_path / name) == f"source 'p': '{tmp_path / name}' {ending}"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"image": "x"', "Expecting ',' delimiter at character"),
        (b"\xff\xfe", "it is not UTF-8 text"),
        (b"[1]", "it is no JSON object with the columns' names"),
    ],
)
def test_the_first_row_that_cannot_be_parsed_is_named_with_its_reason(tmp_path, bad, reason):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"image": "x"}\n' + bad + b"\n{\n")
    (text,) = readers()[0].open(str(path), OpenOptions()).dropped

    assert text.startswith(f"row that cannot be parsed (first line 2: {reason}")


# ---------------------------------------------------------------------------------------- training


def stream(folder: Path, bad: int, of: int, rank: int = 0) -> TrainStream:
    """A stream over two sources, each with rows of which the first ``bad`` have no file."""
    for i in range(bad, of):
        (folder / f"{i}.x").write_text(f"{i}")
    path = write_rows(folder / "m.jsonl", *[{"image": f"{i}.x", "key": f"key{i}"} for i in range(of)])
    sources = {name: SourceConfig(path=str(path), modalities=["image"]) for name in ("a", "b")}
    config = Config(
        data=DataConfig(sources=sources, workers=0, threads=1),
        train=TrainConfig(steps=4, global_batch=2 * of, slots=2),
    )
    return TrainStream(config, MODALITIES, readers(), {}, rank=rank, ranks=2 if rank else 1)


def test_the_first_replaced_sample_of_each_source_is_logged(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="spectranet.data"):
        list(stream(tmp_path, bad=1, of=8))

    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    for source, message in zip("ab", sorted(caplog.messages), strict=True):
        assert message.startswith(f"source '{source}': sample 'm.jsonl:1' cannot be used and another takes")
        assert "m.jsonl:1: file '0.x' does not exist" in message


def test_other_ranks_do_not_log_replaced_samples(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="spectranet.data"):
        other = stream(tmp_path, bad=4, of=8, rank=1)
        list(other)

    assert all(each.failed for each in other.failures.values()) and not caplog.records


def test_samples_tried_are_counted_once(tmp_path):
    with pytest.raises(DataError, match=r"none of the 5 samples that were tried \(of 5\) can be used"):
        list(stream(tmp_path, bad=5, of=5))
