"""Losses and gradients that are not finite, on two real ranks: skipped, rolled back, ended, run again.

A plugin's objective fails on samples that are named beforehand, all of them on rank 1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from free_port import free_port

from spectranet.config import load_config
from spectranet.data.loader import TrainStream

FAULTY = """
import os
from dataclasses import dataclass

import torch
from torch import nn

from spectranet import Loss, Objective, hookimpl, init_linear, option


@dataclass
class FaultyConfig:
    weight: float = option(1.0, "factor")


class Gauge(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def forward(self, pooled_BD, divisor_B, root):
        out_B = self.linear(pooled_BD)[:, 0]
        return (0 * out_B).sqrt() if root else out_B / divisor_B


class Faulty(nn.Module):
    terms = ("faulty.gauge",)

    def __init__(self, context):
        super().__init__()
        self.gauge = Gauge(context.encoder_widths["text"])
        bad = os.environ.get("BAD_KEYS", "").split(",")
        self.bad, self.root = set(bad), "BAD_ROOT" in os.environ

    def init_weights(self):
        init_linear(self)

    def weights(self, batch):
        return {self.terms[0]: float(len(batch))}

    def queries(self, batch, encoded):
        return None

    def loss(self, states, encoded, batch):
        pooled_BD = encoded["text"].pooled_BD.float()
        is_bad = [key in self.bad for key in batch.keys]
        divisor_B = pooled_BD.new_tensor([0.0 if bad else 1.0 for bad in is_bad])
        gauged_B = self.gauge(pooled_BD, divisor_B, self.root and any(is_bad))
        return {self.terms[0]: Loss(gauged_B.sum(), len(batch))}


@hookimpl
def spectranet_objectives():
    return [Objective("faulty", FaultyConfig, lambda config, context: Faulty(context))]
"""

SAMPLES, STEPS = 64, 14
SMALL = [
    *("modalities.text.width=16", "modalities.text.layers=1", "modalities.text.heads=2"),
    *("modalities.text.mlp_hidden=16", "modalities.text.max_tokens=16", "model.decoder.width=16"),
    *("model.decoder.layers=1", "model.decoder.heads=2", "model.decoder.mlp_hidden=16"),
    *("objectives.contrastive=null", "tasks.retrieval=null", f"train.steps={STEPS}", "train.threads=1"),
    *("train.global_batch=4", "train.slots=1", "train.log_every=1", "train.skip_limit=3", "data.workers=0"),
    *("train.checkpoint.keep_last=2", "train.checkpoint.asynchronous=false"),
]


@dataclass
class Corner:
    """A folder with data, and a plugin to be found there."""

    folder: Path
    keys: list[tuple[str, ...]]
    """Of rank 1 in each step."""

    def words(self, run: str) -> list[str]:
        source = [f"data.sources.t.path={self.folder / 'text.jsonl'}", "data.sources.t.modalities=[text]"]
        return [f"run_dir={self.folder / run}", *SMALL, *source]

    def train(self, run: str, steps: range, *words: str, root: bool = False) -> tuple[list[int], str]:
        """Two ranks, rank 1 of which fails in ``steps`` (from 1): their exit codes, and what rank 0 says."""
        bad = ",".join(self.keys[step - 1][0] for step in steps)
        port, ranks = free_port(), []
        for rank in range(2):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
            place |= {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "BAD_KEYS": bad}
            command = ["train", "--plugins", "text,faulty", "--config", "tiny", *self.words(run), *words]
            ranks.append(
                subprocess.Popen(
                    [sys.executable, "-m", "spectranet", *command, "objectives.faulty={}"],
                    env=self.environment(root) | {name: str(value) for name, value in place.items()},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        told = [rank.communicate(timeout=200)[0] for rank in ranks]
        return [rank.returncode for rank in ranks], told[0]

    def reproduce(self, run: str, step: int, bad_step: int, root: bool = False) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "spectranet", "reproduce", f"{self.folder / run}/skipped/step-{step:08d}"],
            env=self.environment(root) | {"BAD_KEYS": self.keys[bad_step - 1][0]},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def environment(self, root: bool) -> dict[str, str]:
        there = {"PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}
        return os.environ | there | ({"BAD_ROOT": "1"} if root else {})

    def lines(self, run: str, name: str) -> list[dict]:
        return [json.loads(line) for line in (self.folder / run / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def corner(tmp_path_factory) -> Corner:
    folder = tmp_path_factory.mktemp("not-finite")
    rows = [json.dumps({"key": f"k{i}", "text": f"sentence number {i}"}) for i in range(SAMPLES)]
    (folder / "text.jsonl").write_text("\n".join(rows))
    (folder / "spectranet_faulty.py").write_text(FAULTY)
    info = folder / "spectranet_faulty-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spectranet-faulty\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[spectranet.plugins.v1]\nfaulty = spectranet_faulty\n")
    corner = Corner(folder, [])
    resolved = load_config(["tiny"], corner.words("none"), ["text"])
    readers = list(resolved.host.readers.values())
    stream = TrainStream(resolved.config, resolved.host.modalities, readers, {"text": 0.4}, rank=1, ranks=2)
    corner.keys += [batch.keys for (batch,) in stream]
    return corner


@pytest.fixture(scope="module")
def came_back(corner) -> str:
    """Rank 1 fails in step 3, and in steps 8, 9, 10: what rank 0 says of the run."""
    codes, told = corner.train("back", [3, 8, 9, 10], "train.checkpoint.every=2")
    assert codes == [0, 0], told
    return told


def test_a_step_that_fails_on_one_rank_is_skipped_on_both_and_later_losses_are_finite(corner, came_back):
    losses = {each["step"]: each["loss"] for each in corner.lines("back", "metrics.jsonl") if "loss" in each}
    assert [step for step, loss in losses.items() if loss is None] == [3, 8, 9, 10]
    assert len(losses) == STEPS
    assert "step 3 is skipped: loss faulty.gauge is not finite on rank 1" in came_back
    assert "step 9 is skipped (2 in a row)" in came_back


def test_what_was_skipped_is_written_down_by_rank_micro_batch_and_source(corner, came_back):
    first, *others = corner.lines("back", "skipped_steps.jsonl")
    assert [each["step"] for each in others] == [8, 9, 10]
    assert first["step"] == 3
    assert [told["terms"] for told in first["ranks"]] == [[], ["faulty.gauge"]]
    (micro_batch,) = first["ranks"][1]["micro_batches"]
    assert micro_batch == {"source": "t", "keys": list(corner.keys[2]), "modalities": ["text"]}
    assert first["gradients"]["objectives.faulty"][0] == "objectives.faulty.gauge.linear.weight"
    kept = sorted(path.name for path in (corner.folder / "back" / "skipped").iterdir())
    assert kept == ["step-00000003", "step-00000008", "step-00000009"]  # the first few, not the fourth


def test_too_many_in_a_row_take_the_weights_back_and_the_data_goes_on(corner, came_back):
    assert (
        "3 steps in a row were skipped: weights and optimizer are back at step 6 "
        f"({corner.folder / 'back'}/checkpoints/step-00000006); the data goes on with step 11" in came_back
    )
    kinds = [(e["kind"], e["step"]) for e in corner.lines("back", "events.jsonl")]
    assert ("rollback", 10) in kinds
    assert [each["step"] for each in corner.lines("back", "metrics.jsonl") if "rolled_back_to" in each] == [
        10
    ]
    manifest = (corner.folder / "back" / "checkpoints" / f"step-{STEPS:08d}" / "manifest.json").read_text()
    # 14 steps, of which 3 and 8 to 10 changed nothing, and the effect of 7 was taken back.
    assert set(json.loads(manifest)["optimizer_steps"].values()) == {STEPS - 4 - 1}


def test_the_step_is_run_again_and_the_guilty_module_and_sample_are_named(corner, came_back):
    told = corner.reproduce("back", 8, 8).splitlines()
    assert told[0] == "step 8, batches of 2 ranks, on the weights of step-00000012 (5 steps later)"
    assert told[1].startswith("first:  objectives.faulty.gauge (Gauge) gives 1 ")
    assert told[1].endswith("infinite of 2 values, from finite inputs")
    assert told[2:5] == [
        "  brought by plugin 'faulty'",
        "  in micro-batch 0 of rank 1, source 't'",
        f"  samples: {corner.keys[7][0]}",
    ]


def test_a_second_time_without_a_checkpoint_in_between_ends_both_ranks_with_code_3(corner):
    codes, told = corner.train("diverged", range(8, 15), "train.checkpoint.every=4", root=True)
    assert codes == [3, 3], told
    assert "weights and optimizer are back at step 4" in told
    assert "step 8 is skipped: the loss is finite, the gradient is not, of " in told
    folder = corner.folder / "diverged"
    assert (
        "error: loss or gradient was not finite in 3 steps in a row, the last being step 13, and going back "
        f"to {folder}/checkpoints/step-00000004 has not helped.\n"
        f"  their samples:  {folder}/skipped_steps.jsonl\n"
        f"  run one again:  spectranet reproduce {folder}/skipped/step-00000010\n"
        "  try a smaller train.optimizer.lr_peak" in told
    )
    again = corner.reproduce("diverged", 10, 10, root=True)
    assert "first:  objectives.faulty.gauge (Gauge) gets finite gradients and passes on others" in again
    assert "in micro-batch 0 of rank 1, source 't'" in again
    assert "Function 'MulBackward0' returned nan values" in again
    assert "spectranet_faulty.py:23 in forward: return (0 * out_B).sqrt()" in again


def test_without_a_checkpoint_to_go_back_to_a_run_ends_at_once(corner):
    codes, told = corner.train("young", range(2, 9), "train.checkpoint.every=1000")
    assert codes == [3, 3], told
    assert "the last being step 4, and there is no checkpoint from before step 1 to go back to." in told
