"""Stopped anywhere and gone on with other ranks, workers and micro-batches: the same samples, bit by bit.

Real codecs over real tars of several shards in windows, some of whose samples cannot be decoded.
"""

from __future__ import annotations

import io
import random
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from same_samples import Step, Topology, steps_of

from spectranet.config import Resolved, load_config
from spectranet.config.schema import SourceConfig

STEPS, SLOT_SIZE, SLOTS = 24, 4, 4
SHARDS = {
    ("image", "text"): (9, 4, 11, 6, 8),
    ("audio", "text"): (5, 7, 3),
    ("video", "text"): (3, 5, 2, 4),
}
SMALL = [
    *("trunks.vit.image_size=32", "modalities.image.size=32", "modalities.video.size=16"),
    *("modalities.video.frames=2", "modalities.audio.max_seconds=0.3", "modalities.text.max_tokens=24"),
    *("tasks.retrieval=null", f"train.steps={STEPS}", f"train.slots={SLOTS}"),
    *(f"train.global_batch={SLOTS * SLOT_SIZE}", "data.window_shards=2", "train.seed=11"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Resolved:
    """A configuration over three sources, and the plugins that it needs."""
    folder = tmp_path_factory.mktemp("elastic")
    resolved = load_config(["tiny"], SMALL, ["vision", "audio", "text"])
    sources = {}
    for weight, (modalities, shards) in enumerate(SHARDS.items(), start=1):
        name = "-".join(modalities)
        (folder / name).mkdir()
        for number, samples in enumerate(shards):
            write_shard(folder / name / f"{number:03}.tar", modalities, samples, resolved, seed=number)
        sources[name] = SourceConfig(
            path=str(folder / name / "*.tar"), modalities=list(modalities), weight=1 / weight
        )
    config = replace(resolved.config, data=replace(resolved.config.data, sources=sources))
    return replace(resolved, config=config)


def write_shard(path: Path, modalities: tuple[str, ...], samples: int, run: Resolved, seed: int) -> None:
    """Each modality's own examples; every ninth is cut short."""
    rng = np.random.default_rng(seed)
    with tarfile.open(path, "w") as tar:
        for i in range(samples):
            for name in modalities:
                modality = run.host.modalities[name]
                content = modality.example(rng)
                if i % 9 == 3 and name != "text":
                    content = content[: len(content) // 3]
                info = tarfile.TarInfo(f"{i:04}.{modality.fields[0]}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def read(run: Resolved, topology: Topology, start: int, stop: int) -> list[Step]:
    readers = list(run.host.readers.values())
    return steps_of(run.config, run.host.modalities, readers, topology, start, stop)


def random_topology(rng: random.Random) -> Topology:
    ranks = rng.choice([n for n in range(1, SLOT_SIZE + 1) if SLOT_SIZE % n == 0])
    share = SLOT_SIZE // ranks
    fitting = [n for n in range(1, 4 * share + 1) if share % n == 0 or n % share == 0]
    return Topology(
        ranks=ranks,
        micro_batch=rng.choice([None, *fitting]),
        workers=rng.choice([0, 1, 2]),
        threads=rng.choice([1, 2, 3]),
        prefetch=rng.choice([1, 2, 3]),
    )


def test_fifty_stops_and_topologies_give_the_samples_of_an_uninterrupted_run(run):
    rng = random.Random(2026)
    expected = read(run, Topology(), 0, STEPS)
    samples, topologies = 0, set()
    for _ in range(50):
        topology, start = random_topology(rng), rng.randrange(STEPS)
        stop = min(STEPS, start + rng.randint(1, 3))
        assert read(run, topology, start, stop) == expected[start:stop], f"{topology}, step {start} to {stop}"
        samples += sum(len(step) for step in expected[start:stop])
        topologies.add(topology)
    print(f"\n50 stops, {len(topologies)} different topologies: {samples} samples bit-identical")
    sources = {source for step in expected for source, _, _ in step.values()}
    assert sources == {"-".join(modalities) for modalities in SHARDS}


def test_every_epoch_of_a_source_has_all_samples_that_can_be_read(run):
    steps = read(run, Topology(ranks=2, micro_batch=1), 0, STEPS)
    keys = [key for step in steps for source, key, _ in step.values() if source == "image-text"]
    size = sum(SHARDS["image", "text"])
    epochs = [keys[i : i + size] for i in range(0, len(keys) - size + 1, size)]
    good = {
        f"{shard:03}.tar/{i:04}"
        for shard, samples in enumerate(SHARDS["image", "text"])
        for i in range(samples)
        if i % 9 != 3
    }
    assert len(epochs) >= 3
    assert all(set(epoch) == good for epoch in epochs)


GO_ON = """
import os, sys
from spectranet.config import load_config
from spectranet.train.distributed import leave
from spectranet.train.set_up import set_up
from spectranet.train.snapshot import save
data, *overrides = sys.argv[1:]
save(set_up(load_config(["tiny"], overrides, ["text"])), 1, last=True)
print("stopped", file=sys.stderr)
os.rename(data + "/1.later", data + "/1.tar")
accepted = "train.checkpoint.accept_changed_data=true"
set_up(load_config(["tiny"], [*overrides, accepted], ["text"]))
leave(0)
"""


def test_a_run_that_may_go_on_with_another_corpus_says_so(run, tmp_path):
    for name, samples in {"0.tar": 4, "1.later": 5}.items():
        write_shard(tmp_path / name, ("text",), samples, run, seed=samples)
    overrides = [
        *(f"run_dir={tmp_path}/run", f"data.sources.notes.path={tmp_path}/*.tar", "data.workers=0"),
        *("data.sources.notes.modalities=[text]", "objectives.contrastive=null", "tasks.retrieval=null"),
        *("modalities.text={width: 16, layers: 1, heads: 2, mlp_hidden: 16}", "train.threads=1"),
        *("model.decoder={width: 16, layers: 1, heads: 2, mlp_hidden: 16}", "train.global_batch=4"),
        "train.slots=1",
    ]
    command = [sys.executable, "-c", GO_ON, str(tmp_path), *overrides]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    first, _, second = " ".join(done.stderr.split()).partition("stopped")
    change = "source 'notes' had 4 samples in 1 shard, now 9 samples in 2 shards"
    assert change not in first and change in second
