"""What a run is seen to do: counts by hand, a spread that is known, and names that are documented."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import toy_run
from launch import launch

from spectranet.config.schema import SourceConfig
from spectranet.contracts import Rows
from spectranet.plan.gpus import gpu_named
from spectranet.train.objective_pass import ObjectivePass
from spectranet.train.optimizer import fill_gradients
from spectranet.train.watch.collapse import CollapseGuard, embedding_figures
from spectranet.train.watch.figures import FIGURES, meaning
from spectranet.train.watch.gradient_norms import GradientNorms
from spectranet.train.watch.loss_shares import loss_by_modality
from spectranet.train.watch.watch import Watch, peak_flops

RANKS = Path(__file__).parent / "ranks"
REPORT = Path(__file__).parents[3] / "docs" / "report.md"


@pytest.fixture
def timed(tmp_path):
    """Figures of two steps, and how long they took with a pause of 0.2 s after either.

    A step has two micro-batches of 8; 2 of 6 tokens are hidden, and a sample of either is shorter by 2.
    """
    began = time.perf_counter()
    config, parts = toy_run.toy_config(steps=2, global_batch=16, peak_tflops=0.5)
    config.run_dir = str(tmp_path)
    config.data.sources = {"toy": SourceConfig(modalities=["left", "right"])}
    model, _, world = toy_run.toy_model()
    watch, norms = Watch(config, parts, model, world), GradientNorms(model, world)
    passes = ObjectivePass(model, world, toy_run.COEFFICIENTS)
    stream = [toy_run.micro_batches(world, 2, seed) for seed in range(2)]
    for batches in stream:
        for batch in batches:
            batch.modalities["left"].valid_BN[0, 4:] = False
    for _, batches in watch.steps(stream, 0):
        losses = passes(batches)
        watch.saw(batches)
        fill_gradients(model.parameters())
        norms.clip(1.0)
        with watch.pause():
            time.sleep(0.2)
    values = losses.reduce(world, passes.term_coefficients)
    values |= loss_by_modality(values, passes.term_coefficients, parts.modalities)
    values |= norms.figures() | watch.figures()
    return values, time.perf_counter() - began


@pytest.fixture
def watched(timed):
    return timed[0]


def test_tokens_are_counted_without_padding(watched):
    assert watched["tokens_per_step"] == 16 * 6 * 2 - 4
    assert watched["modality/left/tokens_per_step"] == 16 * 6 - 4
    assert watched["modality/left/token_share"] == pytest.approx(92 / 188)
    assert watched["modality/left/padding_share"] == pytest.approx(4 / 96)
    assert watched["padding_share"] == pytest.approx(4 / 192)
    assert watched["modality/right/hidden_share"] == pytest.approx(2 / 6)


def test_losses_of_the_modalities_add_up_to_the_whole(watched):
    parts = watched["modality/left/loss"], watched["modality/right/loss"]
    assert sum(parts) == pytest.approx(watched["loss"])
    expected = watched["loss/masked.left"] + 0.5 * watched["loss/pair.left-right"] / 2
    assert parts[0] == pytest.approx(expected)


def test_a_pause_is_no_training(timed):
    values, took_s = timed
    assert 2 * values["seconds_per_step"] <= took_s - 2 * 0.2
    assert values["samples_per_s"] * values["seconds_per_step"] == pytest.approx(16)


def test_time_is_shared_out_between_sources_and_waiting(watched):
    busy, waited = watched["source/toy/time_share"], watched["data_wait_share"]
    assert busy > 0 and waited >= 0 and busy + waited < 1
    micro_batches_s = 4 * watched["source/toy/seconds_per_micro_batch"]
    assert micro_batches_s == pytest.approx(busy * 2 * watched["seconds_per_step"])


def test_two_ranks_are_seen_to_do_what_one_does_and_the_one_that_waits_is_told(tmp_path):
    found = {}
    for ranks in (1, 2):
        launch(RANKS / "watch.py", tmp_path / f"{ranks}.json", ranks=ranks)
        found[ranks] = json.loads((tmp_path / f"{ranks}.json").read_text())
    assert found[1].keys() == found[2].keys()
    same = re.compile("tokens_per_step|(token|hidden|padding)_share|embedding|similarity|flops_per_step")
    alike = [name for name in found[1] if same.search(name)]
    assert len(alike) > 10
    for name in alike:
        assert found[2][name] == pytest.approx(found[1][name], rel=1e-4, abs=1e-6), name
    both = found[2]
    assert 0 < both["slept_share"] <= both["data_wait_share_worst"] <= 1
    assert both["data_wait_share"] < both["data_wait_share_worst"]


def test_mfu_is_the_share_of_the_peak(watched):
    assert watched["mfu"] == pytest.approx(watched["tflops_per_device"] / 0.5)


def test_every_figure_is_documented_where_people_read_and_in_the_code(watched):
    assert [name for name in watched if meaning(name) is None] == []
    assert meaning("something/else") is None
    rows = re.findall(
        r"^\| `([^`]+)` \| (.+) \|$", REPORT.read_text().split("## What is in")[1], re.MULTILINE
    )
    assert dict(rows) == FIGURES


def rows_of(vectors: torch.Tensor, ids: range) -> Rows:
    return Rows(vectors, torch.tensor([[i, 0] for i in ids]))


def test_spread_and_likeness_of_embeddings_are_those_of_all_pairs():
    generator = torch.Generator().manual_seed(0)
    a = F.normalize(torch.randn(40, 8, generator=generator), dim=-1)
    b = F.normalize(a + torch.randn(40, 8, generator=generator), dim=-1)[
        torch.randperm(40, generator=generator)
    ]
    order = (b @ a.T).argmax(1)
    rows = {"c": {"left": rows_of(a, range(40)), "right": Rows(b, torch.stack([order, order], 1))}}
    found = {k: float(v) for k, v in embedding_figures(rows, frozenset({"c.left-right"})).items()}

    cosines = (a @ b.T).double()
    same = order[None, :] == torch.arange(40)[:, None]
    assert found["similarity/c.left-right/positive"] == pytest.approx(cosines[same].mean().item(), rel=1e-4)
    assert found["similarity/c.left-right/negative"] == pytest.approx(cosines[~same].mean().item(), abs=1e-5)
    assert found["embedding/c.left/variance"] == pytest.approx(
        a.double().var(0, correction=0).sum().item(), rel=1e-4
    )
    eigenvalues = torch.linalg.eigvalsh(torch.cov(a.T.double()))
    rank = eigenvalues.sum() ** 2 / eigenvalues.square().sum()
    assert found["embedding/c.left/rank"] == pytest.approx(rank.item(), rel=1e-4)
    assert embedding_figures(rows, frozenset()).keys() == {k for k in found if k.startswith("embedding/")}


def test_embeddings_that_are_all_alike_have_no_variance_and_no_rank():
    rows = {"c": {"left": rows_of(torch.ones(10, 4), range(10))}}
    found = embedding_figures(rows, frozenset())
    assert found["embedding/c.left/variance"] < 1e-6
    assert found["embedding/c.left/rank"] <= 1


def test_a_step_without_rows_has_no_figures_of_them():
    """Clips of one segment leave a temporal loss nothing to compare."""
    nobody = Rows(torch.zeros(0, 3), torch.zeros(0, 1, dtype=torch.int64))
    somebody = Rows(torch.eye(3), torch.arange(3)[:, None])
    found = embedding_figures({"c": {"left": nobody, "right": somebody}}, frozenset({"c.left-right"}))
    assert found.keys() == {"embedding/c.right/variance", "embedding/c.right/rank"}


def test_a_collapse_is_told_once_it_lasts_and_again_after_it_has_mended():
    guard = CollapseGuard(floor=0.01, patience=3)
    values = [0.001, 0.001, 0.5, 0.001, 0.001, 0.001, 0.001, 0.5, 0.001, 0.001, 0.001]
    told = [guard.warnings({"embedding/c.left/variance": v, "embedding/c.left/rank": 0.0}) for v in values]
    assert [bool(each) for each in told] == [False] * 5 + [True] + [False] * 4 + [True]
    assert told[5][0].startswith("warning: the embeddings c.left have collapsed: in 3 records in a row")


@pytest.mark.parametrize(
    "driver, name",
    [
        ("NVIDIA H100 80GB HBM3", "h100-80gb"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA A100 80GB PCIe", None),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_gpus_are_known_by_what_their_driver_calls_them(driver, name):
    gpu = gpu_named(driver)
    assert (gpu and gpu.name) == name


def test_there_is_no_mfu_where_nobody_knows_the_peak():
    config, _ = toy_run.toy_config()
    assert peak_flops(config, torch.device("cpu")) is None
