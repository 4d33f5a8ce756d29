"""Shards as other programs write them are trained on without conversion: the same keys, the same bytes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from numbers_modality import numbers

from spectranet.config import Config, DataConfig, SourceConfig, TrainConfig
from spectranet.data.loader import TrainStream
from spectranet.data.readers import readers
from spectranet.data.source import open_sources

MODALITIES = {"image": numbers("image", "jpg"), "text": numbers("text", "txt")}
COUNT = 12

Samples = dict[str, dict[str, bytes]]


def pair(i: int) -> dict[str, bytes]:
    return {"image": f"{i},1,2".encode(), "text": f"{i}".encode()}


def trained_on(path: Path | str, tmp_path: Path, **options) -> Samples:
    """What the sources give; and every sample, by its key, in an epoch of the training stream."""
    config = Config(
        data=DataConfig(
            sources={"pairs": SourceConfig(path=str(path), modalities=["image", "text"], **options)},
            workers=0,
            cache_dir=str(tmp_path / "cache"),
        ),
        train=TrainConfig(steps=COUNT // 4, global_batch=4, slots=1),
    )
    [source] = open_sources(config.data.sources, MODALITIES, readers(), config.data)
    samples = dict(source.read(row) for row in range(len(source)))
    in_training = {}
    for step in TrainStream(config, MODALITIES, readers(), {}):
        for batch in step:
            # The toy transform adds less than a half to the numbers that it reads.
            numbers = {name: each.data["x"].long().tolist() for name, each in batch.modalities.items()}
            in_training |= {
                key: (numbers["image"][i], numbers["text"][i]) for i, key in enumerate(batch.keys)
            }
    assert in_training == {
        key: tuple([int(n) for n in fields[name].split(b",")] for name in ("image", "text"))
        for key, fields in samples.items()
    }
    return samples


def test_shards_of_webdatasets_shard_writer(tmp_path):
    webdataset = pytest.importorskip("webdataset", exc_type=ImportError)
    with webdataset.ShardWriter(str(tmp_path / "%03d.tar"), maxcount=5, verbose=0) as writer:
        for i in range(COUNT):
            fields = {"jpg": pair(i)["image"], "txt": pair(i)["text"].decode(), "json": {"n": i}}
            writer.write({"__key__": f"sub/{i:04d}", **fields})
    for path in (tmp_path / "{000..002}.tar", tmp_path / "*.tar", tmp_path):
        assert trained_on(path, tmp_path) == {f"{i // 5:03d}.tar/sub/{i:04d}": pair(i) for i in range(COUNT)}


@pytest.mark.parametrize("form", ["ustar", "gnu", "oldgnu", "pax", "v7"])
@pytest.mark.parametrize("what", [".", "pairs", "pairs/*.jpg pairs/*.txt"])
def test_archives_of_the_program_tar(tmp_path, form, what):
    long = "a name of a folder that is long, in ümlauts and with spaces"
    folder = "pairs" if form == "v7" or "*" in what else f"pairs/{long}/{long}"
    (tmp_path / "in" / folder).mkdir(parents=True)
    for i in range(COUNT):
        (tmp_path / "in" / folder / f"{i}.jpg").write_bytes(pair(i)["image"])
        (tmp_path / "in" / folder / f"{i}.txt").write_bytes(pair(i)["text"])
    command = f"tar --format={form} -cf {tmp_path}/all.tar {what}"
    done = subprocess.run(command, shell=True, cwd=tmp_path / "in", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    assert trained_on(tmp_path / "all.tar", tmp_path) == {
        f"all.tar/{folder}/{i}": pair(i) for i in range(COUNT)
    }


def test_the_output_folder_of_img2dataset(tmp_path):
    """With its statistics and its parquet files beside the shards, which are no samples."""
    webdataset = pytest.importorskip("webdataset", exc_type=ImportError)
    folder = tmp_path / "laion"
    folder.mkdir()
    expected = {}
    for shard in range(3):
        # img2dataset writes through webdataset's TarWriter, failed downloads as json alone.
        with webdataset.TarWriter(str(folder / f"{shard:05d}.tar")) as writer:
            for i in range(shard * 4, shard * 4 + 4):
                key = f"{shard:05d}{i:04d}"
                meta = {"caption": pair(i)["text"].decode(), "status": "success", "key": key, "sha256": "…"}
                fields = {"jpg": pair(i)["image"], "txt": meta["caption"], "json": json.dumps(meta)}
                writer.write({"__key__": key, **fields})
                expected[f"{shard:05d}.tar/{key}"] = pair(i)
            writer.write({"__key__": f"{shard:05d}9999", "json": '{"status": "failed_to_download"}'})
        (folder / f"{shard:05d}_stats.json").write_text('{"count": 5, "successes": 4}')
        (folder / f"{shard:05d}.parquet").write_bytes(b"PAR1")

    assert trained_on(folder, tmp_path) == expected
    assert trained_on(folder / "{00000..00002}.tar", tmp_path, fields={"text": "json.caption"}) == expected
