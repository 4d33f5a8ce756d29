"""Our step against open_clip's own, ``open_clip_train.train.train_one_epoch`` on one batch.

Equal towers, batch, text length, vocabulary, optimizer and clipping. Theirs gets pictures that are
normalised already and runs AdamW as its ``main.py`` sets it up; ours normalises in the step.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import open_clip
import torch
from interleaved import figure, measure, table
from open_clip_train.train import train_one_epoch
from step_material import CLIP_NORM, TEXT_TOKENS, VOCABULARY, Trainer, clip, pairs
from torch import Tensor

from spectranet.config.schema import OptimizerConfig
from spectranet.contracts import Batch

__all__ = ["compare_with_open_clip", "compare_with_open_clip_accumulated"]


def compare_with_open_clip(folder: Path, budget_s: float, layers: int, samples: int) -> None:
    """One batch a step: fp32 against fp32, and bf16 against both."""
    setting = clip(layers)
    batch = [pairs(setting, samples)]
    sides = {
        "ours, fp32": Trainer(setting, folder).step(batch),
        "ours, bf16": Trainer(clip(layers, "train.precision=bf16"), folder).step(batch),
        "open_clip, fp32": open_clip_step(layers, batch, "fp32"),
        "open_clip, bf16 (amp)": open_clip_step(layers, batch, "amp_bf16"),
    }
    timings = measure(sides, rounds=60, budget_s=budget_s)
    table(f"One step, CLIP's towers of {layers} blocks, {samples} pairs", timings)
    peer, ours = timings["open_clip, fp32"], timings["ours, bf16"]
    figure("step.speed_vs_open_clip_fp32", peer.ratio_to(timings["ours, fp32"]), "x")
    figure("step.bf16_speed_vs_open_clip_fp32", peer.ratio_to(ours), "x")
    figure("step.bf16_speed_vs_open_clip_bf16", timings["open_clip, bf16 (amp)"].ratio_to(ours), "x")


def compare_with_open_clip_accumulated(folder: Path, budget_s: float, layers: int, samples: int) -> None:
    """Two batches a step, each contrasted with both: ``--accum-freq 2`` there."""
    setting = clip(layers)
    batches = [pairs(setting, samples // 2, first) for first in (0, samples // 2)]
    sides = {
        "ours": Trainer(setting, folder).step(batches),
        "open_clip": open_clip_step(layers, batches, "fp32"),
    }
    timings = measure(sides, rounds=60, budget_s=budget_s)
    table(f"One step, CLIP's towers of {layers} blocks, 2 x {samples // 2} pairs", timings)
    figure("step.speed_vs_open_clip_accumulated", timings["open_clip"].ratio_to(timings["ours"]), "x")


class _Loader:
    """The batches of one step, as open_clip's loop expects them."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = [_images_and_texts(batch) for batch in batches]
        self.num_batches = len(batches)
        self.num_samples = sum(len(batch) for batch in batches)
        self.dataloader = self

    def set_epoch(self, epoch: int) -> None:
        pass

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.batches)


def _images_and_texts(batch: Batch) -> tuple[Tensor, Tensor]:
    pixels = batch.modalities["image"].data["pixels"].float() / 255
    mean, deviation = torch.tensor(open_clip.OPENAI_DATASET_MEAN), torch.tensor(open_clip.OPENAI_DATASET_STD)
    return (pixels - mean[:, None, None]) / deviation[:, None, None], batch.modalities["text"].data["ids"]


def open_clip_step(layers: int, batches: Sequence[Batch], precision: str) -> Callable[[], None]:
    torch.manual_seed(0)
    model = open_clip.CLIP(
        embed_dim=512,
        vision_cfg=open_clip.CLIPVisionCfg(
            layers=layers, width=768, head_width=64, patch_size=32, image_size=224
        ),
        text_cfg=open_clip.CLIPTextCfg(
            context_length=TEXT_TOKENS, vocab_size=VOCABULARY, width=512, heads=8, layers=layers
        ),
        output_dict=True,
    )
    loader = _Loader(batches)
    arguments = argparse.Namespace(
        accum_freq=len(batches),
        batch_size=len(batches[0]),
        device="cpu",
        distill=False,
        grad_clip_norm=CLIP_NORM,
        horovod=False,
        log_every_n_steps=1,
        precision=precision,
        rank=0,
        skip_scheduler=True,
        wandb=False,
        world_size=1,
    )
    loss, optimizer = open_clip.ClipLoss(), _optimizer(model)

    def step() -> None:
        train_one_epoch(model, {"train": loader}, loss, 0, optimizer, None, None, None, arguments)

    return step


def _optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    """As in ``open_clip_train.main``: weight decay on what has two dimensions, no fused kernel."""
    named = list(model.named_parameters())
    vectors = [p for name, p in named if p.ndim < 2 or "bias" in name]
    matrices = [p for name, p in named if not (p.ndim < 2 or "bias" in name)]
    ours = OptimizerConfig()
    return torch.optim.AdamW(
        [{"params": vectors, "weight_decay": 0.0}, {"params": matrices, "weight_decay": ours.weight_decay}],
        lr=ours.lr_peak,
        betas=(ours.beta1, ours.beta2),
        eps=ours.eps,
    )
