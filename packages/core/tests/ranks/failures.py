"""Two ranks that see different failures: one limit, one error, the reasons of both."""

from __future__ import annotations

import sys
from pathlib import Path

from spectranet.data.failures import Failures, Skipped
from spectranet.train.distributed import leave, start_world
from spectranet.train.faults.failure_limit import FailureLimit
from spectranet.train.stopping.stop import StopFlag

world = start_world("cpu", 1)
seen = {"good": Failures(), "spoilt": Failures()}
seen["good"].add(50, [])
reasons = [["it is cut short", "it is empty"], ["it is empty"]][world.rank]
failed = [Skipped("spoilt", f"rank{world.rank}", each) for each in reasons * 5]
seen["spoilt"].add(40, [*failed, Skipped("spoilt", "in its place", "it is worse", attempt=1)])

limit = FailureLimit(0.01, seen, {})
stopping, counts = StopFlag().agreed(world, limit.counts())
assert not stopping
limit.update(counts)
assert limit.totals() == {"good": (100, 0), "spoilt": (80, 15)}
assert limit.passed() == ["spoilt"]
lines = str(limit.error(world, 3, Path("run"))).splitlines()
assert lines[0].startswith("source 'spoilt': 15 of 80 samples could not be used (18.8 %)"), lines
assert lines[1:3] == ["  10 x  'rank0': it is empty", "   5 x  'rank0': it is cut short"], lines
sys.stdout.write("agreed\n")  # one write: ranks share a pipe
leave(0)
