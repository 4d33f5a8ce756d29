"""A run goes on with a modality more or less than its checkpoint has, if that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import toy
import toy_run

from spectranet.config.schema import CheckpointConfig
from spectranet.model.build import Parts
from spectranet.train.checkpoint import CheckpointError, Saver, load_checkpoint, verify_checkpoint
from spectranet.train.checkpoint.shards import state_of
from spectranet.train.distributed import start_world
from spectranet.train.optimizer import build_optimizer
from spectranet.train.parallel.parallelize import build_sharded


def build(modalities: tuple[str, ...], width: int = 16, seed: int = 0):
    """Model and optimizer of a run with these modalities."""
    config, parts = toy_run.toy_config(seed=seed)
    config.modalities = {name: toy.ToyConfig(width) for name in modalities}
    world = start_world("cpu", 1)
    some = {name: parts.modalities[name] for name in modalities}
    model = build_sharded(config, Parts(some, parts.objectives, (frozenset(modalities),)), world)
    return model, build_optimizer(model, config.train.optimizer), world


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A function: the checkpoint, and the state, of a model with these modalities that has trained."""
    made = {}

    def of(*modalities: str):
        if modalities not in made:
            model, optimizer, world = build(modalities)
            with torch.no_grad():
                for tensor in state_of(model, optimizer).values():
                    tensor.add_(0.5)
                for state in optimizer.state.values():
                    state["step"].fill_(7)
            folder = tmp_path_factory.mktemp("-".join(modalities))
            Saver(folder, CheckpointConfig(), world).save_last(7, model, optimizer, {})
            made[modalities] = verify_checkpoint(folder / "step-00000007"), copied(model, optimizer)
        return made[modalities]

    return of


def copied(model, optimizer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in state_of(model, optimizer).items()}


def steps(model, optimizer) -> dict[str, float]:
    return {name: optimizer.state[p]["step"].item() for name, p in model.named_parameters()}


def test_a_modality_more_begins_as_initialised_and_the_rest_as_saved(saved):
    checkpoint, before = saved("left")
    model, optimizer, _ = build(("left", "right"), seed=3)
    fresh = copied(model, optimizer)

    told = load_checkpoint(checkpoint, model, optimizer, accept_changed_model=True)

    now = copied(model, optimizer)
    new = now.keys() - before.keys()
    assert {name.split(".")[2] for name in new if ".encoders." in name} == {"right"}
    assert all(torch.equal(now[name], fresh[name] if name in new else before[name]) for name in now)
    assert not any(now[name].any() for name in new if name.startswith("exp_avg"))
    assert {count for name, count in steps(model, optimizer).items() if f"model.{name}" in new} == {0.0}
    assert {count for name, count in steps(model, optimizer).items() if f"model.{name}" not in new} == {7.0}
    sizes = {name: sum(now[n].numel() for n in names) for name, names in (
        ("new", [n for n in new if n.startswith("model.")]),
        ("loaded", [n for n in now.keys() - new if n.startswith("model.")]),
    )}  # fmt: skip
    loaded, added = told
    assert loaded.startswith(f"loaded: {sizes['loaded']:,} parameters: decoder ")
    assert added.startswith(f"new, as initialised: {sizes['new']:,} parameters: encoders.right ")
    assert "objectives.masked" in added and "encoders.left" not in added


def test_a_modality_less_is_left_in_the_checkpoint(saved):
    checkpoint, before = saved("left", "right")
    model, optimizer, _ = build(("left",), seed=3)
    told = load_checkpoint(checkpoint, model, optimizer, accept_changed_model=True)
    now = copied(model, optimizer)
    assert all(torch.equal(now[name], before[name]) for name in now)
    assert [line.split(":")[0] for line in told] == ["loaded", "left in the checkpoint"]
    assert "encoders.right" in told[1] and "encoders.left" not in told[1]


@pytest.mark.parametrize(
    ("before", "after"), [(("left",), ("left", "right")), (("left", "right"), ("left",))]
)
def test_without_being_asked_for_it_is_refused_and_the_option_named(saved, before, after):
    model, optimizer, _ = build(after)
    with pytest.raises(CheckpointError, match=r"train\.checkpoint\.accept_changed_model=true") as caught:
        load_checkpoint(saved(*before)[0], model, optimizer)
    assert "right" in str(caught.value)


def test_a_tensor_of_another_shape_is_refused_whatever_is_accepted(saved):
    model, optimizer, _ = build(("left",), width=8)
    with pytest.raises(CheckpointError, match="does not fit this model") as caught:
        load_checkpoint(saved("left")[0], model, optimizer, accept_changed_model=True)
    assert "accept_changed_model" not in str(caught.value)
    assert (
        "model.encoders.left.embed.weight: here [[8, 4], 'torch.float32'], stored [[16, 4], 'torch.float32']"
        in str(caught.value)
    )


def test_the_same_model_says_nothing(saved, tmp_path: Path):
    model, optimizer, _ = build(("left",), seed=3)
    assert load_checkpoint(saved("left")[0], model, optimizer) == []
