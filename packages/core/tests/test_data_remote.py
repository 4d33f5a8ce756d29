"""The same shards from a disk, from memory and over HTTP give the same batches, whatever the store does."""

from __future__ import annotations

import io
import tarfile
import uuid
from pathlib import Path

import fsspec
import pytest
from numbers_modality import numbers
from ranges import Store, serving

from spectranet.config import Config, DataConfig, SourceConfig, TrainConfig
from spectranet.data.loader import TrainStream
from spectranet.data.readers import readers
from spectranet.data.stores import patience
from spectranet.data.stores.patience import Patience

MODALITIES = {"left": numbers("left", "left"), "right": numbers("right", "right")}
SHARDS, SAMPLES, STEPS = 6, 40, 12


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE", Patience(delays_s=(0.01, 0.02), attempt_s=5.0))


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    folder = tmp_path / "bucket"
    folder.mkdir()
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for sample in range(SAMPLES):
                for field, text in (("left", f"{shard},{sample}"), ("right", f"{sample},{shard},1")):
                    info = tarfile.TarInfo(f"{sample}.{field}")
                    info.size = len(text)
                    tar.addfile(info, io.BytesIO(text.encode()))
    return folder


@pytest.fixture
def server(bucket: Path):
    with serving(bucket) as server:
        yield server


def stream(address: str, cache: Path, *, workers: int = 0, start_step: int = 0, **data) -> TrainStream:
    sources = {"pairs": SourceConfig(path=address, modalities=["left", "right"])}
    options = {"workers": workers, "threads": 2, "window_shards": 2, "cache_dir": str(cache)} | data
    config = Config(
        data=DataConfig(sources=sources, **options),
        train=TrainConfig(steps=STEPS, global_batch=24, slots=2),
    )
    return TrainStream(config, MODALITIES, readers(), {"left": 0.5}, start_step=start_step)


def described(run: TrainStream) -> list[tuple]:
    """Keys, identities, values and what is hidden, of every batch of a run."""
    found = []
    for step in run:
        for batch in step:
            views = {
                name: [each.data["x"].tolist(), each.hidden_BH.tolist(), each.content_B.tolist()]
                for name, each in batch.modalities.items()
            }
            found.append((batch.keys, batch.ids_B.tolist(), views))
    assert run.failures["pairs"].failed == 0
    return found


def batches(address: str, cache: Path, **options) -> list[tuple]:
    return described(stream(address, cache, **options))


def test_batches_are_the_same_from_a_disk_from_memory_and_over_http(
    bucket: Path, server: Store, tmp_path: Path
) -> None:
    in_memory = f"memory://{uuid.uuid4().hex}"
    fsspec.filesystem("memory").put(str(bucket), in_memory, recursive=True)

    from_disk = batches(str(bucket), tmp_path / "cache")

    assert len(from_disk) == 2 * STEPS
    keys = [key for keys, _, _ in from_disk for key in keys]
    assert len(set(keys[: SHARDS * SAMPLES])) == SHARDS * SAMPLES, "an epoch is every sample once"
    assert batches(in_memory, tmp_path / "cache") == from_disk
    assert batches(server.url, tmp_path / "cache", workers=2) == from_disk
    braces = f"{server.url}/{{0..{SHARDS - 1}}}.tar"
    assert batches(braces, tmp_path / "another cache", workers=2) == from_disk
    assert batches(server.url, tmp_path / "cache", start_step=STEPS // 2) == from_disk[STEPS:]


def test_batches_are_the_same_without_a_cache_and_with_a_store_that_stumbles(
    bucket: Path, server: Store, tmp_path: Path
) -> None:
    from_disk = batches(str(bucket), tmp_path / "cache")
    run = stream(server.url, tmp_path / "cache", cache_gib=0.0)
    for shard, kind in enumerate(("error", "vanish", "short") * 2):
        server.fail(f"{shard}.tar", kind, times=2)

    assert described(run) == from_disk
    assert all(len(server.gets(f"{shard}.tar")) > 2 for shard in range(SHARDS))


def test_once_all_shards_have_copies_a_run_asks_the_store_for_no_range(server: Store, tmp_path: Path) -> None:
    first = batches(server.url, tmp_path / "cache", workers=1)
    for _ in range(20):  # a run that ends takes what it was fetching with it
        if len(list((tmp_path / "cache" / "shards").glob("*.tar"))) == SHARDS:
            break
        batches(server.url, tmp_path / "cache", workers=1)
    before = len(server.requests)

    assert batches(server.url, tmp_path / "cache", workers=1) == first
    assert not [each for each in server.requests[before:] if each.range]
