"""Makes data to try the package with: series and captions that say the same.

    python -m spectranet_inertial.samples samples

writes train.jsonl, held_out.jsonl and the series they list into samples/. The captions of held_out.jsonl are
all different, one for each thing that can be said, so that retrieval has one right answer.
Your own data goes into such a manifest: a line a sample, with the path of a series beside it.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from spectranet_inertial.config import InertialConfig

__all__ = ["main"]

SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sine": np.sin,
    "square": lambda phase: np.sign(np.sin(phase)),
    "sawtooth": lambda phase: (phase / np.pi) % 2 - 1,
}
CYCLES = {"slow": 3.0, "fast": 9.0}
LOUDNESS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "grows": lambda time: time,
    "fades": lambda time: 1 - time,
    "stays": lambda time: np.full_like(time, 0.6),
}
CHANNELS = ("one", "two", "three", "four")
ALL = list(itertools.product(SHAPES, CYCLES, LOUDNESS, CHANNELS))


def caption(shape: str, speed: str, change: str, channel: str) -> str:
    return f"{speed} {shape} wave on channel {channel} {change}"


def series(shape: str, speed: str, change: str, channel: str, rng: np.random.Generator) -> np.ndarray:
    """float32 (T, C) of 80 to 160 steps: a wave on one channel, noise on all."""
    time = np.linspace(0, 1, int(rng.integers(80, 161)))
    phase = 2 * np.pi * (CYCLES[speed] * rng.uniform(0.9, 1.1) * time + rng.uniform())
    series_TC = 0.1 * rng.standard_normal((len(time), InertialConfig().channels))
    series_TC[:, CHANNELS.index(channel)] += LOUDNESS[change](time) * SHAPES[shape](phase)
    return series_TC.astype(np.float32)


def write(folder: Path, name: str, saying: Sequence[tuple[str, str, str, str]], seed: int) -> None:
    """``name``.jsonl, and a series for each thing that is said; the same for the same seed."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    lines = []
    for number, words in enumerate(saying):
        file = f"{name}/{number:04d}.npy"
        rng = np.random.default_rng((seed, len(saying), number))
        np.save(folder / file, series(*words, rng), allow_pickle=False)
        lines.append(json.dumps({"inertial": file, "text": caption(*words)}) + "\n")
    (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m spectranet_inertial.samples")
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--count", type=int, default=400, help="series to train on (400)")
    parser.add_argument("--seed", type=int, default=0, help="other numbers make other samples (0)")
    given = parser.parse_args(arguments)
    chosen = np.random.default_rng(given.seed).integers(len(ALL), size=given.count)
    write(given.folder, "train", [ALL[index] for index in chosen], given.seed)
    write(given.folder, "held_out", ALL, given.seed + 1)
    print(f"wrote {given.count} samples to train on and {len(ALL)} held out to {given.folder}/")


if __name__ == "__main__":
    main()
