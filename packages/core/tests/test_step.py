"""One step: its gradient does not depend on how the global batch is cut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import toy
from launch import launch
from toy_run import micro_batches, toy_config, toy_model

from spectranet import PluginError, Rows
from spectranet.config.schema import OptimizerConfig
from spectranet.model.build import Parts, build_model
from spectranet.train.objective_pass import ObjectivePass
from spectranet.train.optimizer import learning_rate

RANKS = Path(__file__).parent / "ranks"


@pytest.fixture(scope="module")
def cuts(tmp_path_factory):
    """(ranks, micro-batches, whether the encoders' graphs are kept) -> losses and gradients."""
    folder = tmp_path_factory.mktemp("cuts")
    found = {}
    for ranks in (1, 2):
        launch(RANKS / "cuts.py", folder / f"{ranks}.pt", ranks=ranks)
        results = torch.load(folder / f"{ranks}.pt", weights_only=True)
        found[ranks, "refusal"] = results.pop("refusal")
        for (count, keep), result in results.items():
            found[ranks, count, keep] = result
    return found


CUTS = [(1, 2), (1, 8), (2, 1), (2, 2), (2, 8)]


@pytest.mark.parametrize("keep", [False, True], ids=["run twice", "kept"])
@pytest.mark.parametrize("ranks, count", CUTS)
def test_gradient_is_that_of_one_process_with_the_full_batch(cuts, ranks, count, keep):
    whole = cuts[1, 1, False]["gradients"]
    cut = cuts[ranks, count, keep]["gradients"]
    assert cut.keys() == whole.keys()
    for name, expected in whole.items():
        error = (cut[name] - expected).norm() / expected.norm()
        assert error < 1e-5, name


@pytest.mark.parametrize("ranks, count", CUTS)
def test_losses_are_those_of_one_process_with_the_full_batch(cuts, ranks, count):
    assert cuts[ranks, count, False]["losses"] == pytest.approx(cuts[1, 1, False]["losses"], rel=1e-5)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("variant", ["checkpointed", "touched"])
def test_recomputed_activations_and_touched_heads_change_no_gradient(cuts, ranks, variant):
    whole = cuts[1, 1, False]["gradients"]
    for name, gradient in cuts[ranks, 2, variant]["gradients"].items():
        assert (gradient - whole[name]).norm() / whole[name].norm() < 1e-5, name


def test_every_parameter_has_a_gradient(cuts):
    assert all(gradient.abs().sum() > 0 for gradient in cuts[1, 1, False]["gradients"].values())


def test_ranks_that_differ_are_refused_by_name(cuts):
    assert cuts[1, "refusal"] == ""
    assert cuts[2, "refusal"].startswith("numbers differ between ranks: rank 1 against rank 0.")


def test_learning_rate_warms_up_linearly_and_falls_to_the_floor():
    config = OptimizerConfig(lr_peak=1.0, lr_floor=0.1, warmup_steps=10)
    rates = [learning_rate(step, 110, config) for step in range(110)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1)
    middle = 10 + (109 - 10) / 2
    assert (rates[int(middle)] + rates[int(middle) + 1]) / 2 == pytest.approx(0.55, abs=1e-3)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_encoders_may_give_slices_without_a_warning(monkeypatch, recwarn):
    whole = toy.ToyEncoder.forward

    def sliced(encoder, inputs):
        encoded = whole(encoder, inputs)
        tokens = encoded.tokens_BND
        return replace(encoded, tokens_BND=torch.cat([tokens[:, :1], tokens], 1)[:, 1:])

    monkeypatch.setattr(toy.ToyEncoder, "forward", sliced)
    model, _, world = toy_model()
    with torch.enable_grad():
        _, encoded = model("embed", ("pair",), micro_batches(world, 1)[0])
    assert encoded["left"].tokens_BND._is_view()
    assert not [str(each.message) for each in recwarn if "view" in str(each.message)]


def test_an_encoder_that_gives_something_else_is_named(monkeypatch):
    monkeypatch.setattr(toy.ToyEncoder, "forward", lambda encoder, inputs: {"tokens": None})
    model, _, world = toy_model()
    with pytest.raises(PluginError, match=r"modality 'left' returned dict; the contract asks for"):
        model("embed", ("pair",), micro_batches(world, 1)[0])


def test_where_nobody_asks_no_decoder_is_built():
    config, parts = toy_config()
    asking = build_model(config, parts)
    silent = build_model(config, Parts(parts.modalities, {"pair": toy.PAIR}, parts.combinations))
    assert len(asking.decoder.blocks) == config.model.decoder.layers and len(silent.decoder.blocks) == 0
    answering = [
        n for n, _ in silent.named_parameters() if n.startswith(("memory.project", "decoder.blocks"))
    ]
    assert not answering


def test_ids_of_rows_stand_beside_the_vectors_and_on_the_host():
    """Objectives written for 0.1 compare them with logits; those for 0.2 ask the host and do not wait."""
    alone = SimpleNamespace(gather_rows=lambda rows: (rows, slice(0, len(rows))))
    gathering = SimpleNamespace(global_names=("pair",), world=alone)
    rows = [{"pair": {"left": Rows(torch.ones(2, 3, device="meta"), torch.tensor([[4], [7]]))}}] * 2

    leaves, _ = ObjectivePass.gather(gathering, rows)

    left = leaves["pair"]["left"]
    assert left.ids_RI.device == left.vectors_RE.device == torch.device("meta")
    assert left.host.ids_RI.tolist() == [[4], [7], [4], [7]]
    assert left.host.vectors_RE is left.vectors_RE
