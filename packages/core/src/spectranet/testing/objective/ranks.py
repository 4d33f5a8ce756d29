"""Does one step of two ranks equal that of one? A small model of the kit with the objective under test.

``step_on_ranks`` is called by the clause; ``take_a_step`` by each rank.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from spectranet.config.schema import Config, DecoderConfig, option
from spectranet.contracts import Batch, Encoded, Modality, ModalityBatch, Objective
from spectranet.model.build import Parts, build_model, initialise_model
from spectranet.model.functional import gather_tokens
from spectranet.model.initialise import init_linear
from spectranet.model.spectranet import SpectraNet
from spectranet.plugins import PluginHost
from spectranet.testing.objective.samples import (
    FEATURES,
    WIDTH,
    Shown,
    SquaredErrorHead,
    ToyModality,
    make_context,
    take,
)
from spectranet.testing.ranks import on_ranks
from spectranet.train.distributed import World
from spectranet.train.objective_pass import ObjectivePass, coefficients
from spectranet.train.parallel.parallelize import build_sharded

__all__ = ["step_on_ranks", "take_a_step"]

_CUTS = 2
"""Micro-batches of each rank."""


@dataclass
class ToyOptions:
    width: int = option(16, "width of the encoder")


class ToyEncoder(nn.Module):
    """Linear, token by token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.Linear(FEATURES, width)

    def init_weights(self) -> None:
        init_linear(self, std=0.5)

    def forward(self, inputs: ModalityBatch, trunk: nn.Module | None = None) -> Encoded:
        x_BVF = gather_tokens(inputs.data["x"], inputs.visible_BV)
        tokens_BVD = torch.tanh(self.embed(x_BVF.to(self.embed.weight.dtype)))
        valid_BV = inputs.visible_valid_BV
        sum_BD = tokens_BVD.masked_fill(~valid_BV.unsqueeze(-1), 0).sum(1)
        return Encoded(
            tokens_BVD,
            valid_BV,
            gather_tokens(inputs.position_BNP, inputs.visible_BV),
            inputs.segment_BN.gather(1, inputs.visible_BV),
            sum_BD / valid_BV.sum(1, keepdim=True).clamp_min(1),
        )


def step_on_ranks(case: Any, shown: Shown) -> dict[str, Any]:
    """``losses``: term -> (one rank, two ranks); ``gradients``: parameter -> (size of the difference, size).

    Raises:
        BrokenClauseError: a rank failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "batch.pt"
        torch.save(_told(shown.batch), path)
        told = {
            "plugin": case.plugin,
            "name": case.name,
            "options": dict(case.options),
            "modalities": [{**asdict(one), "data": None} for one in case.modalities],
            "batch": str(path),
        }
        return on_ranks(f"{__name__}:take_a_step", told)  # type: ignore[no-any-return]


def take_a_step(case: Mapping[str, Any], world: World) -> dict[str, Any]:
    """What one rank does; see :func:`step_on_ranks`."""
    objective = PluginHost.load([case["plugin"]]).objectives[case["name"]]
    modalities = [ToyModality(**one) for one in case["modalities"]]
    config, parts = _small_model(objective, case["options"], modalities)
    batch = _heard(torch.load(case["batch"], weights_only=True))
    share = len(batch) // world.size
    own = range(world.rank * share, (world.rank + 1) * share)
    two = _step(build_sharded(config, parts, world), world, config, batch, own)
    # The same weights, whole, and all samples, with nobody to talk to.
    alone = World(0, 1, world.device, world.mesh)
    model = build_model(config, parts)
    initialise_model(model, config.train.seed, world.device)
    one = _step(model, alone, config, batch, range(len(batch)))
    return {
        "losses": {term: (one[0][term], two[0][term]) for term in one[0]},
        "gradients": {
            name: (float((two[1][name] - gradient).norm()), float(gradient.norm()))
            for name, gradient in one[1].items()
        },
    }


def _step(
    model: SpectraNet, world: World, config: Config, batch: Batch, own: Sequence[int]
) -> tuple[dict[str, float], dict[str, Tensor]]:
    passes = ObjectivePass(model, world, coefficients(config))
    size = len(own) // _CUTS
    cuts = [take(Shown(batch, {}), own[i * size : (i + 1) * size]).batch for i in range(_CUTS)]
    losses = passes(cuts).reduce(world, passes.term_coefficients)
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    whole = {n: g.full_tensor() if isinstance(g, DTensor) else g for n, g in found.items()}
    numbers = {term: value for term, value in losses.items() if not term.startswith("metric/")}
    return numbers, {name: gradient.clone() for name, gradient in whole.items() if gradient.norm() > 0}


def _small_model(
    objective: Objective, options: Mapping[str, Any], modalities: Sequence[ToyModality]
) -> tuple[Config, Parts]:
    config = Config()
    config.model.decoder = DecoderConfig(width=WIDTH, layers=1, heads=2, mlp_hidden=32)
    config.modalities = {one.name: ToyOptions(one.width) for one in modalities}
    config.objectives = {objective.name: objective.config(**options)}
    made = {one.name: _as_modality(one) for one in sorted(modalities, key=lambda one: one.name)}
    return config, Parts(made, {objective.name: objective}, make_context(modalities).combinations)


def _as_modality(one: ToyModality) -> Modality:
    """As the model needs it; there are no bytes to decode."""
    never = partial(_never, one.name)
    return Modality(
        name=one.name,
        config=ToyOptions,
        fields=(one.name,),
        decode=never,
        build_transform=never,
        collate=never,
        sample_mask=never,
        build_encoder=lambda options, trunk=None: ToyEncoder(options.width),
        build_target_head=lambda options, width: SquaredErrorHead(width),
        shard_units=lambda: (),
        flops=never,
        example=never,
        fingerprint=never,
        temporal=one.temporal,
        vocab_size=(lambda options: one.vocabulary) if one.vocabulary else None,
    )


def _never(name: str, *args: Any) -> Any:
    raise AssertionError(f"the kit's modality '{name}' has no data of its own")


def _told(batch: Batch) -> dict[str, Any]:
    tensors = {
        name: {f.name: getattr(one, f.name) for f in fields(one)} for name, one in batch.modalities.items()
    }
    return {"keys": list(batch.keys), "source": batch.source, "ids_B": batch.ids_B, "modalities": tensors}


def _heard(told: Mapping[str, Any]) -> Batch:
    modalities = {name: ModalityBatch(**tensors) for name, tensors in told["modalities"].items()}
    return Batch(tuple(told["keys"]), told["source"], told["ids_B"], modalities)
