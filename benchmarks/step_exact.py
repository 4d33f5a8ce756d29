"""What it costs that each sample is contrasted with the whole global batch, not with its micro-batch.

Plain accumulation runs each micro-batch once and compares its samples with one another: another
loss, for less. The exact one runs the encoders over all but one micro-batch a second time, without
gradient; the figure is what it takes on top, as a share of the encoders' forward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from interleaved import figure, measure, table
from step_material import Trainer, clip, pairs

from spectranet.contracts import Batch

__all__ = ["price_exactness"]


def price_exactness(folder: Path, budget_s: float, layers: int, samples: int, micro_batches: int) -> None:
    setting = clip(layers)
    size = samples // micro_batches
    batches = [pairs(setting, size, first) for first in range(0, samples, size)]
    kept = Trainer(clip(layers, "train.keep_encoded=true"), folder)
    exact = Trainer(setting, folder)
    timings = measure(
        {
            "exact": exact.step(batches),
            "exact, train.keep_encoded": kept.step(batches),
            "plain accumulation": in_isolation(exact, batches),
            "forward of the encoders": forward(exact, batches),
        },
        rounds=60,
        budget_s=budget_s,
    )
    table(f"One step, CLIP's towers of {layers} blocks, {micro_batches} x {size} pairs", timings)
    plain, once = timings["plain accumulation"], timings["forward of the encoders"]
    for name, suffix in (("exact", ""), ("exact, train.keep_encoded", "_kept")):
        extra = timings[name].ratio_to(plain) - 1
        figure(f"step.exact_contrast_cost{suffix}", extra / once.ratio_to(plain), "of the encoders' forward")
        figure(f"step.exact_contrast_share{suffix}", extra, "of a step")


def in_isolation(trainer: Trainer, batches: Sequence[Batch]) -> Callable[[], None]:
    """As any loop accumulates: each micro-batch has its own loss over its own samples."""
    model = trainer.model
    contrastive = model.objectives["contrastive"]

    def run() -> None:
        for batch in batches:
            rows = contrastive.embeddings(model.encode(batch), batch)  # type: ignore[operator]
            for loss in contrastive.global_loss(rows).values():  # type: ignore[operator]
                (loss.sum / (loss.weight * len(batches))).backward()
        trainer.update()

    return run


def forward(trainer: Trainer, batches: Sequence[Batch]) -> Callable[[], None]:
    @torch.no_grad()
    def run() -> None:
        for batch in batches:
            trainer.model("embed", ("contrastive",), batch)

    return run
