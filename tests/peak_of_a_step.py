"""How much memory do steps of more and more micro-batches take? For a script that has a model already."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import pytest
import torch

from spectranet.contracts import Batch
from spectranet.data.collate import collate
from spectranet.data.pipeline import Sample
from spectranet.model.build import Parts
from spectranet.model.spectranet import SpectraNet
from spectranet.plan.meter import Meter
from spectranet.train import objective_pass
from spectranet.train.distributed import World
from spectranet.train.objective_pass import ObjectivePass
from spectranet.train.optimizer import fill_gradients

__all__ = ["extra_peaks"]


def extra_peaks(
    model: SpectraNet,
    world: World,
    coefficients: Mapping[str, float],
    parts: Parts,
    samples: Sequence[Sample],
    kinds: Sequence[tuple[int, bool]],
) -> dict[tuple[int, bool], int]:
    """Most bytes of tensors alive in a step, above parameters and gradients, counted one operation at a time.

    Args:
        samples: of every micro-batch; the identities differ.
        kinds: (micro-batches, whether the encoders' graphs are kept).
    """
    fill_gradients(model.parameters())
    found = {}
    for count, keep in kinds:
        batches = [
            collate(
                samples, parts.modalities, source="clips", ids=range(i * len(samples), (i + 1) * len(samples))
            )
            for i in range(count)
        ]
        passes = ObjectivePass(model, world, coefficients, keep)
        with pytest.MonkeyPatch.context() as patch, Meter() as meter:
            patch.setattr(objective_pass, "to_device", copied)
            meter.watch([*model.parameters(), *(p.grad for p in model.parameters())])
            before = meter.peak = meter.alive
            passes(batches)
        found[count, keep] = meter.peak - before
    return found


def copied(batch: Batch, device: torch.device) -> Batch:
    """What a GPU gets: its own copy, which lives as long as somebody holds it."""
    modalities = {
        name: dataclasses.replace(
            one,
            **{f.name: getattr(one, f.name).clone() for f in dataclasses.fields(one) if f.name != "data"},
            data={key: value.clone() for key, value in one.data.items()},
        )
        for name, one in batch.modalities.items()
    }
    return dataclasses.replace(batch, ids_B=batch.ids_B.clone(), modalities=modalities)
