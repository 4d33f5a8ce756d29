"""Two ranks evaluate a sharded model, and each lacks files that the other has; argv: a folder for each rank.

Without agreement the ranks make different numbers of forwards, and the run hangs in one of them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
import toy_run

from spectranet import Task, TaskData
from spectranet.config import SourceConfig
from spectranet.data.readers import readers
from spectranet.tasks.runner import run_tasks
from spectranet.train.distributed import leave

model, _, world = toy_run.toy_model()
config, parts = toy_run.toy_config()
path = str(Path(sys.argv[1 + world.rank]) / "m.jsonl")
config.eval.sources = {"pairs": SourceConfig(path=path, modalities=["left", "right"])}
config.eval.batch = 4


def evaluate(model, data: TaskData, options: None) -> dict[str, float]:
    """What was seen, and the sum of all embeddings: a digest of the samples and of the gathered weights."""
    seen, total = [], 0.0
    for batch in data.batches("pairs"):
        seen.append(batch.ids_B.tolist())
        total += sum(rows.vectors_RE.double().sum().item() for rows in model.embed("pair", batch).values())
    skipped = {each.key: each.reason for each in data.failures["pairs"].examples}
    return {"seen": seen, "total": total, "skipped": skipped}


config.tasks = {"look": None}
tasks = {"look": Task("look", object, (), evaluate)}
host = SimpleNamespace(tasks=tasks, readers={reader.name: reader for reader in readers()})
figures = run_tasks(model, config, parts, host, world)
sys.stdout.write(f"rank {world.rank} {figures}\n")  # one write: ranks share a pipe
leave(0)
