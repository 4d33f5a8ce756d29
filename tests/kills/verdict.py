"""Is a run that was killed, again and again, the run that nobody has touched?"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from life import Steps
from safetensors.torch import load_file

__all__ = [
    "checkpoints",
    "complaints_about_life",
    "complaints_about_run",
    "curve",
    "farthest",
    "incomplete",
    "samples_differ",
]

_WHAT_COUNTS = re.compile(r"loss|loss/.*|metric/.*|grad_norm|lr|replaced_samples|tried/.*|failed/.*")
"""Of a record; the rest are times and rates."""


def checkpoints(run_dir: Path) -> list[int]:
    """The steps of which there are complete ones, the oldest first."""
    found = run_dir.glob("checkpoints/step-*")
    return sorted(int(path.name[5:]) for path in found if re.fullmatch(r"step-\d+", path.name))


def curve(run_dir: Path) -> list[dict[str, Any]]:
    """The records of ``metrics.jsonl``, as they stand, without times and rates."""
    records = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    kept = ("step",)
    return [{k: v for k, v in r.items() if k in kept or _WHAT_COUNTS.fullmatch(k)} for r in records]


def incomplete(run_dir: Path) -> list[str]:
    """Checkpoints under a final name that lack a file of their manifest, or the manifest itself."""
    found = []
    for step in checkpoints(run_dir):
        path = run_dir / "checkpoints" / f"step-{step:08d}"
        manifest = path / "manifest.json"
        wanted = json.loads(manifest.read_text())["files"].keys() if manifest.exists() else {"manifest.json"}
        if missing := sorted(wanted - {each.name for each in path.iterdir()}):
            found.append(f"{path} lacks {missing[0]}")
    return found


def complaints_about_life(steps: Sequence[int], saved: Sequence[int], told: str) -> list[str]:
    """What is wrong with how a run went on.

    Args:
        steps: that the life has begun, in order.
        saved: steps of which there were complete checkpoints when it started.
        told: what it printed.
    """
    start = saved[-1] if saved else 0
    found = []
    if list(steps) != list(range(start, start + len(steps))):
        found.append(f"went on with steps {list(steps)}, where the newest checkpoint was of {start}")
    if "warning: checkpoint" in told:
        found.append("a kill has left a damaged checkpoint under a final name")
    return found


def complaints_about_run(run_dir: Path, untouched: Path) -> list[str]:
    """Where the records, the failures and the last checkpoint of two runs differ, bit by bit."""
    found = []
    for ours, theirs in zip_longest(curve(run_dir), curve(untouched)):
        if ours != theirs:
            found.append(f"another record: {ours}\n  untouched: {theirs}")
            break
    if _failures(run_dir) != _failures(untouched):
        found.append("other lines in failures/")
    ours, theirs = _last_tensors(run_dir), _last_tensors(untouched)
    if odd := [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]:
        found.append(f"{len(odd)} tensors of the last checkpoint differ, the first being {odd[0]}")
    if left := [path.name for path in run_dir.glob("checkpoints/*") if not path.name[5:].isdigit()]:
        found.append(f"left behind: {', '.join(left)}")
    return found


def samples_differ(lives: Sequence[Steps], untouched: Steps) -> list[str]:
    """Samples that a run has lost, repeated or exchanged. The last life that took a step counts."""
    taken: Steps = {}
    for steps in lives:
        taken |= steps
    found = []
    for step in sorted({*taken, *untouched}):
        ours, theirs = taken.get(step, {}), untouched.get(step, {})
        if ours != theirs:
            lost = sorted(set(theirs.items()) - set(ours.items()))
            added = sorted(set(ours.items()) - set(theirs.items()))
            found.append(f"step {step}: lost {lost[:3]}, added {added[:3]}")
    return found


def farthest(ours: Sequence[Mapping[str, float]], theirs: Sequence[Mapping[str, float]]) -> float:
    """The largest relative difference between the losses of two runs; infinite where steps differ."""
    if [record["step"] for record in ours] != [record["step"] for record in theirs]:
        return math.inf
    pairs = [(a["loss"], b["loss"]) for a, b in zip(ours, theirs, strict=True)]
    return max(abs(a - b) / abs(b) for a, b in pairs)


def _failures(run_dir: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(run_dir.glob("failures/*.jsonl"))}


def _last_tensors(run_dir: Path) -> dict[str, bytes]:
    """Of the newest checkpoint: a digest of every tensor. Their order in a file is no promise."""
    digests = {}
    for path in sorted(
        (run_dir / "checkpoints" / f"step-{checkpoints(run_dir)[-1]:08d}").rglob("*.safetensors")
    ):
        for name, tensor in load_file(path).items():
            content = tensor.flatten().view(torch.uint8).numpy().tobytes()
            digests[f"{path.name}/{name}"] = hashlib.sha256(content).digest()
    return digests
