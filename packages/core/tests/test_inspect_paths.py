"""The survey of a path: what it reads of an object store, what it guesses, and what it says of damage."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from numbers_modality import numbers
from ranges import serving
from remote_shards import copies, fetching, soon
from small_shards import run_index

from spectranet.config import Config, DataConfig, SourceConfig
from spectranet.data.readers import readers
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
