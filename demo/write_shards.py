"""Writes the demo's data: WebDataset tars of pictures, clips, sounds and captions.

    python demo/write_shards.py runs/demo/data

``train/SOURCE/000.tar …`` and ``test/SOURCE/000.tar`` for the sources of :data:`SOURCES`. Every sample is a
pure function of (seed, split, source, number), so the files are the same however they are computed.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile
import time
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import encode
import numpy as np
from drawing import draw_clip, draw_picture
from scenes import Clip, Film, Picture, Scene, Tone, caption, test_scenes, train_scene
from tones import play

__all__ = ["SOURCES", "Source", "scene_files", "write_data"]

_SHARD_SAMPLES = 500
_VERSION = 3
"""Raise it when the same seed gives other files: data of another version is written anew."""


@dataclass(frozen=True)
class Source:
    """One kind of scene, and how many of them there are."""

    kind: type
    train: int
    test: int


SOURCES: Mapping[str, Source] = {
    "image-text": Source(Picture, 4000, 192),
    "video-text": Source(Clip, 1200, 128),
    "audio-text": Source(Tone, 2000, 120),
    "video-audio-text": Source(Film, 500, 96),
}


def write_data(
    directory: Path, *, seed: int = 0, sources: Mapping[str, Source] = SOURCES, processes: int = 2
) -> bool:
    """Write everything below ``directory``; False if it is there already.

    A directory appears whole or not at all: it is written beside its place and renamed.
    """
    manifest = {
        "version": _VERSION,
        "seed": seed,
        "samples": {name: {"train": source.train, "test": source.test} for name, source in sources.items()},
    }
    if _is_written(directory, manifest):
        return False
    building = directory.with_name(f"{directory.name}.building")
    shutil.rmtree(building, ignore_errors=True)  # of a run that was killed
    jobs = list(_jobs(building, seed, sources))
    if processes > 1:
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            list(pool.map(_write_shard, jobs))
    else:
        for job in jobs:
            _write_shard(job)
    (building / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    shutil.rmtree(directory, ignore_errors=True)
    building.rename(directory)
    return True


def _is_written(directory: Path, manifest: Mapping[str, object]) -> bool:
    try:
        return bool(json.loads((directory / "manifest.json").read_text()) == manifest)
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class _Shard:
    path: Path
    name: str
    split: str
    source: Source
    seed: int
    first: int
    count: int


def _jobs(directory: Path, seed: int, sources: Mapping[str, Source]) -> Iterator[_Shard]:
    for name, source in sources.items():
        for split, total in (("train", source.train), ("test", source.test)):
            folder = directory / split / name
            folder.mkdir(parents=True, exist_ok=True)
            whole = _Shard(folder, name, split, source, seed, 0, 0)
            for number, first in enumerate(range(0, total, _SHARD_SAMPLES)):
                count = min(_SHARD_SAMPLES, total - first)
                yield replace(whole, path=folder / f"{number:03d}.tar", first=first, count=count)


def _write_shard(shard: _Shard) -> None:
    with tarfile.open(shard.path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, scene in _scenes(shard):
            rng = _generator(shard, number, "files")
            for extension, content in scene_files(scene, rng).items():
                member = tarfile.TarInfo(f"{number:06d}.{extension}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def _scenes(shard: _Shard) -> Iterator[tuple[int, Scene]]:
    numbers = range(shard.first, shard.first + shard.count)
    if shard.split == "train":
        for number in numbers:
            yield number, train_scene(shard.source.kind, _generator(shard, number, "scene"))
    else:
        scenes = test_scenes(shard.source.kind, shard.source.test, _generator(shard, 0, "scenes"))
        yield from ((number, scenes[number]) for number in numbers)


def _generator(shard: _Shard, number: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng(
        [shard.seed, zlib.crc32(f"{shard.split}/{shard.name}/{purpose}".encode()), number]
    )


def scene_files(scene: Scene, rng: np.random.Generator) -> dict[str, bytes]:
    """The files of one sample by extension; the sound of a film is inside its MP4."""
    text = caption(scene, rng).encode()
    match scene:
        case Picture():
            return {"jpg": encode.jpeg(draw_picture(scene, rng)), "txt": text}
        case Clip():
            return {"mp4": encode.mp4(draw_clip(scene, rng)), "txt": text}
        case Tone():
            return {"wav": encode.wav(play(scene, rng)), "txt": text}
        case Film():
            sound = play(scene.tone, rng, duration_s=1.0)
            return {"mp4": encode.mp4(draw_clip(scene.clip, rng), sound), "txt": text}


if __name__ == "__main__":
    began = time.perf_counter()
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo/data")
    fresh = write_data(target)
    print(f"{target}: {'written' if fresh else 'is there already'}, {time.perf_counter() - began:.1f} s")
