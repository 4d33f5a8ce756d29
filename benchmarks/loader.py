"""What a sample costs until it is in a batch: ours against webdataset and plain pipelines.

    python benchmarks/loader.py [--quick] [--only pictures,sound,clips,starts]

Peers come with ``nox -s bench``. Figures are medians over rounds of the ratio of CPU time, that of worker
processes included, the sides taking turns within one run: other work on the machine hits them alike.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import torch
from loader_audio import compare_audio
from loader_images import compare_images
from loader_material import SIDES, write_shards
from loader_resume import compare_starts, measure_starvation
from loader_video import compare_videos

_PARTS = ("pictures", "sound", "clips", "starts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="at most 45 s on two cores")
    parser.add_argument("--only", default=",".join(_PARTS), help="parts to run, separated by commas")
    options = parser.parse_args()
    parts = options.only.split(",")
    torch.set_num_threads(1)  # waiting threads would count as CPU time
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), parts, options.quick)
    sys.stdout.flush()
    os._exit(0)  # webdataset leaves threads behind


def run(folder: Path, parts: list[str], quick: bool) -> None:
    samples, shards = (256, 4) if quick else (768, 8)
    if "pictures" in parts:
        for corpus in ("laion", "datacomp"):  # the figures without a suffix are DataComp's
            path = _write(folder / corpus, samples, shards, SIDES[corpus])
            suffix = "" if corpus == "datacomp" else f"_{corpus}"
            compare_images(path, samples, (1,) if quick else (0, 2, 1), 2.0 if quick else 90.0, suffix)
    if "sound" in parts:
        compare_audio(4.0 if quick else 60.0, quick)
    if "clips" in parts:
        compare_videos(2.0 if quick else 60.0)
    if "starts" in parts:
        path = _write(folder / "starts", samples, shards, SIDES["datacomp"])
        compare_starts(path, samples, 3 if quick else 9)
        measure_starvation(path, samples, epochs=3 if quick else 4)


def _write(folder: Path, samples: int, shards: int, sides: tuple[int, int]) -> str:
    path = write_shards(folder, samples, shards, sides)
    size = sum(each.stat().st_size for each in folder.iterdir())
    print(
        f"\n{folder.name}: {samples} pictures of {sides[0]} to {sides[1]} pixels a side, "
        f"{size / samples / 1e3:.0f} kB a sample with its texts"
    )
    return path


if __name__ == "__main__":
    main()
