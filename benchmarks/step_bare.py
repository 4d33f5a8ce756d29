"""Our step against the loop that one would write by hand for the same model on one device.

Ours has what the other has not: sharding where there is something to shard, denominators counted over
all ranks, zero gradients where a step uses no parameter, a journal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from interleaved import figure, measure, table
from step_material import CLIP_NORM, Setting, Trainer, clip, pairs, tiny
from torch import Tensor, nn

from spectranet.contracts import Batch
from spectranet.model.build import build_model, initialise_model
from spectranet.model.spectranet import SpectraNet

__all__ = ["compare_with_bare_loop", "compare_with_bare_loop_tiny"]


def compare_with_bare_loop(folder: Path, budget_s: float, layers: int, samples: int) -> None:
    """Contrast on CLIP's towers."""
    setting = clip(layers)
    batch = [pairs(setting, samples)]
    sides = {"our step": Trainer(setting, folder).step(batch), "bare loop": contrast_by_hand(setting, batch)}
    _compare(f"CLIP's towers of {layers} blocks, {samples} pairs", sides, budget_s, "")


def compare_with_bare_loop_tiny(folder: Path, budget_s: float) -> None:
    """Queries to the decoder, in a model so small that a step is mostly the overhead of single operations."""
    setting, batches = tiny()
    sides = {
        "our step": Trainer(setting, folder).step(batches),
        "bare loop": queries_by_hand(setting, batches),
    }
    _compare("preset tiny, 3 micro-batches of 32", sides, budget_s, "_tiny")


def _compare(title: str, sides: dict[str, Callable[[], None]], budget_s: float, suffix: str) -> None:
    timings = measure(sides, rounds=60, budget_s=budget_s)
    table(f"One step, {title}", timings)
    figure(f"step.cpu_vs_bare_loop{suffix}", timings["our step"].ratio_to(timings["bare loop"]), "x")


def contrast_by_hand(setting: Setting, batches: Sequence[Batch]) -> Callable[[], None]:
    model, update = _model_and_update(setting)
    contrastive = model.objectives["contrastive"]

    def step() -> None:
        for batch in batches:
            rows = contrastive.embeddings(model.encode(batch), batch)  # type: ignore[operator]
            for loss in contrastive.global_loss(rows).values():  # type: ignore[operator]
                (loss.sum / loss.weight).backward()
        update()
        contrastive.after_step()  # type: ignore[operator]

    return step


def queries_by_hand(setting: Setting, batches: Sequence[Batch]) -> Callable[[], None]:
    model, update = _model_and_update(setting)

    def step() -> None:
        for batch in batches:
            encoded = model.encode(batch)
            asked = {name: o.queries(batch, encoded) for name, o in model.objectives.items()}  # type: ignore[operator]
            states = model.decode({n: q for n, q in asked.items() if q is not None}, encoded)
            total: Tensor = torch.zeros(())
            for name, objective in model.objectives.items():
                for loss in objective.loss(states.get(name), encoded, batch).values():  # type: ignore[operator]
                    total = total + loss.sum / max(loss.weight, 1.0)
            total.backward()
        update()

    return step


def _model_and_update(setting: Setting) -> tuple[SpectraNet, Callable[[], None]]:
    model = build_model(setting.config, setting.parts)
    initialise_model(model, 0, torch.device("cpu"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def update() -> None:
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad()

    return model, update
