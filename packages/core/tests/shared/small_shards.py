"""A folder of small shards with pictures and captions, and what is read from it."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

from click.testing import CliRunner

from spectranet.cli.data_index import index
from spectranet.data.options import OpenOptions
from spectranet.data.tar import TarSamples

SHARDS, SAMPLES = 4, 5


def write_folder(folder: Path) -> Path:
    """Shards ``0.tar`` to ``3.tar``, of five samples each; the first sample of each has no caption."""
    folder.mkdir()
    for shard in range(SHARDS):
        write(folder / f"{shard}.tar", shard)
    return folder


def write(path: Path, shard: int, samples: int = SAMPLES) -> None:
    with tarfile.open(path, "w") as file:
        for i in range(samples):
            for field in ("jpg", "txt") if i else ("jpg",):
                content = f"{field} {i} of {shard}".encode()
                info = tarfile.TarInfo(f"{i}.{field}")
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))


def flip(path: Path, content: bytes) -> None:
    """Change a byte of a member, and leave size and time as they were."""
    found, whole = path.stat(), bytearray(path.read_bytes())
    whole[whole.index(content)] ^= 1
    path.write_bytes(whole)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def opened(path: Path | str, cache: Path, *needs: str) -> TarSamples:
    return TarSamples(str(path), OpenOptions(needs=tuple((name,) for name in needs), cache_dir=str(cache)))


def contents(samples: TarSamples) -> dict[str, dict[str, bytes]]:
    read = [samples.read(row, ("jpg", "txt")) for row in range(len(samples))]
    return {raw.key: dict(raw.fields) for raw in read}


def expected(samples: int = SAMPLES) -> dict[str, dict[str, bytes]]:
    return {
        f"{shard}.tar/{i}": {f: f"{f} {i} of {shard}".encode() for f in (("jpg", "txt") if i else ("jpg",))}
        for shard in range(SHARDS)
        for i in range(samples)
    }


def index_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.index")}


def run_index(*arguments: object) -> str:
    """What ``spectranet data index`` prints."""
    result = CliRunner().invoke(index, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.output
