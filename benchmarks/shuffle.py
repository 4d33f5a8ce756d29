"""How well are samples shuffled? Windows of shards, the whole corpus, and webdataset's own pipeline.

    python benchmarks/shuffle.py [--quick]

The worst case: 512 shards of 10,000 samples, sorted by class (1,000 classes), global batches of 2,048.

``classes``: how unevenly the classes are met in a batch: chi-squared over that of independent draws,
mean over batches; 1 is perfect. ``neighbours``: how often two samples that lie next to each other in
storage meet in one batch, over how often they do in a permutation of the whole corpus; 1 is perfect.
``shards``: different shards in a batch, of 512.

webdataset 1.0 does what open_clip's loader does: shards shuffled, split among ranks and workers, and in
each worker a buffer of 5,000 samples (filled to 1,000 before the first is given). Its own shard list
and its own shuffle run here, on numbers instead of files. With one stream, and with 8 ranks of 4
workers, where a global batch is made of 8 streams at a time.

``cost``: of one row, CPU time, at ten billion samples in a million shards and in one.
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
from collections.abc import Iterator

import numpy as np
import webdataset
from interleaved import figure

from spectranet.data.order import Order

SHARDS, IN_SHARD, CLASSES, BATCH = 512, 10_000, 1_000, 2_048
ROWS = SHARDS * IN_SHARD
WINDOWS = (1, 8, 32, 128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="at most 45 s on two cores")
    batches = 100 if parser.parse_args().quick else 1_000
    print(f"Global batches of {BATCH} from {SHARDS} shards of {IN_SHARD}, sorted by class; {batches} batches")
    print(f"  {'':<24} {'classes':>10} {'neighbours':>11} {'shards':>8}")
    sides = {
        **{f"window_{window}": windowed(window, batches) for window in WINDOWS},
        "whole_corpus": windowed(SHARDS, batches),
        "webdataset_1_stream": streamed(1, 1, batches),
        "webdataset_32_streams": streamed(8, 4, batches),
    }
    figures = [each for name, side in sides.items() for each in compare(name, quality(side))]
    figures += costs(20_000)
    print()
    for each in figures:
        figure(*each)


# ------------------------------------------------------------------------------------ the two sides


def windowed(window: int, batches: int) -> Iterator[np.ndarray]:
    """Rows of batches here and there in a hundred epochs: any of them can be asked for at once."""
    order = Order(0, "benchmark", [IN_SHARD] * SHARDS, window)
    starts = random.Random(1)
    for _ in range(batches):
        start = starts.randrange(100 * ROWS // BATCH) * BATCH
        yield np.array([order.row(ordinal) for ordinal in range(start, start + BATCH)])


def streamed(ranks: int, workers: int, batches: int) -> Iterator[np.ndarray]:
    """Rows of batches that follow each other, after a tenth that fills the buffers.

    A rank takes a batch from each of its workers in turn, as a DataLoader does.
    """
    urls = [each["url"] for each in webdataset.SimpleShardList([str(n) for n in range(SHARDS)], seed=1)]
    streams = [
        [worker_stream(urls[rank::ranks][worker::workers], seed=(rank, worker)) for worker in range(workers)]
        for rank in range(ranks)
    ]
    for step in range(batches + batches // 10):
        rows = [row for rank in streams for row in itertools.islice(rank[step % workers], BATCH // ranks)]
        if step >= batches // 10:
            yield np.array(rows)


def worker_stream(urls: list[str], seed: tuple[int, int]) -> Iterator[int]:
    """An endless stream: the shards of one worker, one after the other, through webdataset's shuffle."""
    samples = (
        row for url in itertools.cycle(urls) for row in range(int(url) * IN_SHARD, (int(url) + 1) * IN_SHARD)
    )
    return iter(webdataset.shuffle(5_000, initial=1_000, seed=hash(seed))(samples))


# --------------------------------------------------------------------------------------- measures


def quality(batches: Iterator[np.ndarray]) -> tuple[float, float, float]:
    """(classes, neighbours, shards), as the head of this file defines them."""
    uneven, met, shards = [], [], []
    for rows in batches:
        counts = np.bincount(rows * CLASSES // ROWS, minlength=CLASSES)
        expected = BATCH / CLASSES
        uneven.append(((counts - expected) ** 2 / expected).sum() / (CLASSES - 1))
        met.append((np.diff(np.sort(rows)) == 1).sum())
        shards.append(len(np.unique(rows // IN_SHARD)))
    by_chance = BATCH * (BATCH - 1) / ROWS
    return float(np.mean(uneven)), float(np.mean(met)) / by_chance, float(np.mean(shards))


def compare(name: str, found: tuple[float, float, float]) -> Iterator[tuple[str, float, str]]:
    """A line of the table, and its figures."""
    classes, neighbours, shards = found
    print(f"  {name:<24} {classes:>10.2f} {neighbours:>11.2f} {shards:>8.1f}")
    yield f"shuffle.classes_{name}", classes, "x"
    yield f"shuffle.neighbours_{name}", neighbours, "x"
    yield f"shuffle.shards_{name}", shards, "shards"


def costs(rows: int) -> Iterator[tuple[str, float, str]]:
    """Ten billion samples; the first row of an epoch permutes the shards, the others do not."""
    print("\nTen billion samples, in the middle of an epoch")
    for name, parts in {"1_shard": [10**10], "1e6_shards": np.full(10**6, 10**4)}.items():
        begun = time.process_time()
        order = Order(0, "benchmark", parts, 32)
        order.row(order.size // 2)
        first = time.process_time() - begun
        begun = time.process_time()
        for ordinal in range(order.size // 2, order.size // 2 + rows):
            order.row(ordinal)
        each = (time.process_time() - begun) / rows
        print(f"  {name:<24} first row {first * 1e3:.1f} ms CPU, each further one {each * 1e6:.1f} µs")
        yield f"shuffle.first_row_{name}", first * 1e3, "ms"
        yield f"shuffle.row_{name}", each * 1e6, "µs"


if __name__ == "__main__":
    main()
