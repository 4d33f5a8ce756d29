"""How long until the first batch, and how long does a trainer wait for the others?

``loader.resume_vs_cold``: wall time from opening the shards to the first batch in a fresh process that
starts at 50 % of an epoch, over that of one that starts at its beginning; processes of all positions
take turns. webdataset has no position to start from: what it can do is read and throw away what comes
before (``slice``), which is measured for comparison on the undecoded samples, its cheapest way.
``loader.starved_share``: the share of the time that a consumer waits for batches, in steady state, when
it computes as long for a batch as a worker takes to prepare one, on two cores.
"""

from __future__ import annotations

import itertools
import multiprocessing
import resource
import statistics
import time
from collections.abc import Iterator

import webdataset as wds
from interleaved import figure
from loader_images import BATCH, our_loader, same_transform

__all__ = ["compare_starts", "measure_starvation"]

_POSITIONS = (0.0, 0.01, 0.5, 0.99)
_WARM_UP = 8
"""Batches before the steady state: more than are held ready."""


def compare_starts(shards: str, samples: int, rounds: int) -> None:
    found: dict[tuple[str, float], list[float]] = {}
    for _ in range(rounds):
        for side, position in itertools.product(("ours", "webdataset"), _POSITIONS):
            seconds = _in_new_process(side, shards, samples, position)
            found.setdefault((side, position), []).append(seconds)
    print(f"\nSeconds to the first batch in a new process, {samples} samples, 1 worker, {rounds} rounds")
    for (side, position), all_seconds in found.items():
        low, high = min(all_seconds), max(all_seconds)
        median = statistics.median(all_seconds)
        print(f"  {side:<12} from {position:4.0%} {median:8.3f}  (min {low:.3f}, max {high:.3f})")
    for position, name in ((0.5, "resume_vs_cold"), (0.01, "resume_1_vs_cold"), (0.99, "resume_99_vs_cold")):
        pairs = zip(found["ours", position], found["ours", 0.0], strict=True)
        figure(f"loader.{name}", statistics.median(warm / cold for warm, cold in pairs), "x")
    replay = zip(found["webdataset", 0.5], found["webdataset", 0.0], strict=True)
    figure("loader.webdataset_replay_vs_cold", statistics.median(a / b for a, b in replay), "x")


def _in_new_process(side: str, shards: str, samples: int, position: float) -> float:
    """Forked, so that imports need not be waited for; nothing of the data path is open here."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(
        target=lambda: sender.send(_first_batch_s(side, shards, samples, position))
    )
    child.start()
    seconds = float(receiver.recv())
    child.join()
    return seconds


def _first_batch_s(side: str, shards: str, samples: int, position: float) -> float:
    """Wall seconds from opening the shards."""
    start_step = int(position * samples) // BATCH
    ours = our_loader(shards, samples, workers=1)
    began_s = time.monotonic()
    if side == "ours":
        batches: Iterator[object] = iter(ours.stream(start_step))
    else:
        pipeline = same_transform(ours, shards, skip=start_step * BATCH)
        batches = iter(wds.WebLoader(pipeline(), batch_size=None, shuffle=False, num_workers=1))
    next(batches)
    return time.monotonic() - began_s


def measure_starvation(shards: str, samples: int, epochs: int) -> None:
    """One worker prepares, this process computes: each has a core."""
    batch_s = _worker_seconds_a_batch(shards, samples)
    waits_s, works_s = [], []
    batches = iter(our_loader(shards, samples, workers=1, epochs=epochs).stream())
    asked_s = time.monotonic()
    for _ in batches:
        got_s = time.monotonic()
        _compute(batch_s)
        waits_s.append(got_s - asked_s)
        asked_s = time.monotonic()
        works_s.append(asked_s - got_s)
    waited_s, worked_s = sum(waits_s[_WARM_UP:]), sum(works_s[_WARM_UP:])
    print(f"\nA consumer that computes {batch_s * 1e3:.0f} ms for each of {len(waits_s)} batches of {BATCH}")
    print(f"  waited {waited_s:.2f} s, worked {worked_s:.2f} s, after the first {_WARM_UP} batches")
    figure("loader.starved_share", waited_s / (waited_s + worked_s), "of the time")


def _worker_seconds_a_batch(shards: str, samples: int) -> float:
    """CPU time of the worker process for a batch, over an epoch."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    our_loader(shards, samples, workers=1).read_all()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent_s / (samples // BATCH)


def _compute(seconds: float) -> None:
    """Keep a core busy for so much CPU time."""
    end_s = time.thread_time() + seconds
    while time.thread_time() < end_s:
        sum(range(1000))
