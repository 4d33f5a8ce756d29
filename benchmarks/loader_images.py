"""Pictures with captions: our loader against webdataset's, on the same shards in one run.

``loader.images_vs_webdataset``: webdataset as open_clip 3.3 uses it (``open_clip_train.data``: its
shuffles, ``decode("pilrgb")``, its transform for training, float batches), with our tokeniser of
bytes in place of its own, which would cost it more.
``loader.same_transform_vs_webdataset``: webdataset's reading, shuffling and batching around our
decoder, transform and uint8 batches; ours draws masks and content hashes besides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
import webdataset as wds
from interleaved import Timing, cpu_with_children, figure, measure
from loader_ours import Ours
from open_clip import image_transform

from spectranet_text.options import TextConfig
from spectranet_text.values import TextTransform, build_transform, decode
from spectranet_vision.collate import stack
from spectranet_vision.config import ImageConfig
from spectranet_vision.image_decode import decode_image
from spectranet_vision.image_transform import ImageTransform

__all__ = ["BATCH", "compare_images", "our_loader", "per_core_table", "same_transform"]

SIZE, BATCH = 256, 32
CROP_SCALE_MIN = 0.9
"""open_clip's default for training; ours is set to the same."""
_SHUFFLED_SHARDS, _SHUFFLED_SAMPLES = (2000, 500), (5000, 1000)
"""Size of the buffers, and how many they hold before the first leaves: open_clip's."""


def compare_images(shards: str, samples: int, workers: tuple[int, ...], budget_s: float) -> None:
    """The last of ``workers`` is the setting that the figures are of."""
    for count in workers:
        sides = {
            "ours": our_loader(shards, samples, count).read_all,
            "webdataset, our transform": partial(read_all, same_transform(shards), samples, count),
            "webdataset, open_clip's": partial(read_all, as_open_clip(shards), samples, count),
        }
        timings = measure(sides, rounds=30, budget_s=budget_s / len(workers), clock=cpu_with_children)
        per_core_table(f"Pictures, {count} worker(s), {samples} samples", timings, samples)
    ours, same, usual = timings.values()
    figure("loader.images_vs_webdataset", usual.ratio_to(ours), "x")
    figure("loader.same_transform_vs_webdataset", same.ratio_to(ours), "x")


def per_core_table(title: str, timings: Mapping[str, Timing], samples: int) -> None:
    print(f"\n{title}")
    for name, timing in timings.items():
        print(
            f"  {name:<34} {samples / timing.median:8.1f} samples/s per core"
            f"  ({timing.median / samples * 1e3:.2f} ms CPU a sample, {len(timing.seconds)} rounds)"
        )


def our_loader(shards: str, samples: int, workers: int, epochs: int = 1) -> Ours:
    options = [
        f"data.workers={workers}",
        f"modalities.image.size={SIZE}",
        f"modalities.image.crop_scale_min={CROP_SCALE_MIN}",
    ]
    return Ours.of("image", shards, epochs * samples, BATCH, options)


def read_all(pipeline: Callable[[], Any], samples: int, workers: int) -> None:
    """One epoch through webdataset's loader; the workers have ended when this returns."""
    torch.manual_seed(0)
    loader = wds.WebLoader(pipeline(), batch_size=None, shuffle=False, num_workers=workers)
    batches = sum(1 for _ in loader)
    assert batches == samples // BATCH, f"{batches} batches of {BATCH} from {samples} samples"


def as_open_clip(shards: str) -> Callable[[], Any]:
    preprocess, tokenise = image_transform(SIZE, is_train=True), Tokenise()
    return lambda: wds.DataPipeline(
        *_shuffled(shards),
        wds.select(lambda sample: "txt" in sample and "jpg" in sample),
        wds.decode("pilrgb"),
        wds.rename(image="jpg;png;jpeg;webp", text="txt"),
        wds.map_dict(image=preprocess, text=lambda text: tokenise(text.encode())),
        wds.to_tuple("image", "text"),
        wds.batched(BATCH, partial=False),
    )


def same_transform(shards: str, skip: int = 0) -> Callable[[], Any]:
    """Our decoder, transform and batches in webdataset's loader, which first reads past ``skip`` samples."""
    transform, tokenise = (
        ImageTransform(ImageConfig(size=SIZE, crop_scale_min=CROP_SCALE_MIN), True),
        Tokenise(),
    )
    rng = np.random.default_rng(0)
    return lambda: wds.DataPipeline(
        *_shuffled(shards),
        wds.slice(skip, None),
        wds.select(lambda sample: "txt" in sample and "jpg" in sample),
        wds.rename(image="jpg;png;jpeg;webp", text="txt"),
        wds.map_dict(image=lambda jpeg: transform(decode_image(jpeg), rng).data, text=tokenise),
        wds.to_tuple("image", "text"),
        wds.batched(BATCH, partial=False, collation_fn=_collate),
    )


def _shuffled(shards: str) -> tuple[Any, ...]:
    return (
        wds.SimpleShardList(shards),
        wds.detshuffle(*_SHUFFLED_SHARDS),
        wds.split_by_node,
        wds.split_by_worker,
        wds.tarfile_to_samples(),
        wds.shuffle(*_SHUFFLED_SAMPLES),
    )


class Tokenise:
    """The same ids on both sides, padded to open_clip's 77."""

    def __init__(self) -> None:
        self.transform: TextTransform = build_transform(TextConfig(max_tokens=77), True)
        self.rng = np.random.default_rng(0)

    def __call__(self, text: bytes) -> torch.Tensor:
        ids_N = self.transform(decode(text), self.rng).data["ids"]
        padded_N = torch.zeros(77, dtype=torch.int64)
        padded_N[: len(ids_N)] = torch.from_numpy(ids_N)
        return padded_N


def _collate(samples: list[tuple[Any, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    pictures, texts = zip(*samples, strict=True)
    return stack(list(pictures))["pixels"], torch.stack(texts)
