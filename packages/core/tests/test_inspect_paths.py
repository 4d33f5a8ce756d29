"""The survey of a path: what it reads of an object store, what it guesses, and what it says of damage."""

from __future__ import annotations

import io
import json
import os
import tarfile
from contextlib import nullcontext
from pathlib import Path

import pytest
from click.testing import CliRunner
from numbers_modality import numbers
from ranges import serving
from remote_shards import copies, fetching, soon
from small_shards import run_index

from spectranet import ConfigError, DataError, OpenOptions
from spectranet.cli.data_inspect import inspect
from spectranet.config import Config, DataConfig, SourceConfig, TrainConfig
from spectranet.data.loader import TrainStream
from spectranet.data.readers import readers
from spectranet.survey.bare_path import guess_source
from spectranet.survey.survey import make_survey


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


# ---------------------------------------------------------------------------------- object stores


def test_a_shard_of_an_object_store_is_read_by_ranges_and_never_fetched(tmp_path):
    folder, cache = tmp_path / "store", tmp_path / "cache"
    folder.mkdir()
    members = [(f"{i}.left", b"1,2") for i in range(20)] + [(f"{i}.jpg", bytes(50_000)) for i in range(20)]
    write_tar(folder / "0.tar", dict(members))
    run_index(folder)
    with serving(folder) as store:
        source = SourceConfig(path=f"{store.url}/0.tar", modalities=["left"])
        config = Config(data=DataConfig(sources={"s": source}, cache_dir=str(cache), threads=1))
        found = make_survey(config, {"left": numbers("left")}, readers(), samples=20)
        soon(lambda: not fetching())
        spans = [request.range for request in store.gets("0.tar") if request.range]

    assert len(found.sources[0].looks.usable) == 20
    assert sum(last + 1 - first for first, last in spans) < 1000, "three bytes a look, of a megabyte"
    assert copies(cache) == []


@pytest.mark.parametrize("path", ["memory://none/date=2024/*.tar", "./x/date=2024/{0..3}.tar"])
def test_a_path_with_an_equals_sign_is_a_path(path):
    said = CliRunner().invoke(inspect, [path])
    assert isinstance(said.exception, DataError)
    assert path.partition("{")[0] in str(said.exception)


# --------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize(("bad", "refused"), [(1, False), (2, True)])
def test_a_source_that_no_run_would_start_on_is_called_that(tmp_path, bad, refused):
    for number in range(4):
        path = write_tar(tmp_path / f"{number}.tar", {f"{i}.left": b"1,2" for i in range(8)})
        if number < bad:
            os.truncate(path, 2000)
    sources = {"s": SourceConfig(path=str(tmp_path), modalities=["left"])}
    config = Config(
        data=DataConfig(sources=sources, threads=1, workers=0, cache_dir=str(tmp_path / "cache")),
        train=TrainConfig(steps=1, global_batch=8),
    )
    modalities = {"left": numbers("left")}

    warnings = make_survey(config, modalities, readers(), samples=4).warnings

    assert any(f"{bad} of 4 parts cannot be read whole" in line for line in warnings)
    assert any("a run will not start" in line for line in warnings) == refused
    with pytest.raises(ConfigError, match="cannot be read whole") if refused else nullcontext():
        TrainStream(config, modalities, readers(), {}, rank=0, ranks=1)


# --------------------------------------------------------------------------------------- bare paths

IMAGE, TEXT = numbers("image", "jpg"), numbers("text", "txt", "text")


def notes_of(path: Path) -> list[str]:
    return guess_source(str(path), {"image": IMAGE, "text": TEXT}, readers(), OpenOptions())[1]


def test_a_caption_in_the_json_of_pictures_is_named_with_the_option_that_takes_it(tmp_path):
    entry = {"url": "http://x", "width": 3, "meta": {"caption": "a cat"}}
    members = {"0.jpg": b"1", "1.jpg": b"1", "1.json": json.dumps(entry).encode()}

    assert notes_of(write_tar(tmp_path / "s.tar", members)) == [
        "'json' could give text too: fields.text=json.meta.caption, and text among the modalities "
        "(its texts: json.meta.caption, json.url)"
    ]
    assert notes_of(write_tar(tmp_path / "t.tar", members | {"1.txt": b"a cat"})) == []


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"width": 3}'])
def test_json_without_text_is_no_caption(tmp_path, content):
    assert notes_of(write_tar(tmp_path / "s.tar", {"0.jpg": b"1", "0.json": content})) == []


def test_where_only_json_is_left_the_mistake_names_its_caption(tmp_path):
    path = write_tar(tmp_path / "s.tar", {"0.json": b'{"caption": "a cat"}'})

    with pytest.raises(DataError, match=r"fields\.MODALITY=json\.caption$"):
        notes_of(path)
