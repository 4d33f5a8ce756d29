"""Pictures with captions: our loader against webdataset's, on the same shards in one run.

``loader.images_vs_webdataset``: webdataset as open_clip 3.3 uses it (``open_clip_train.data``: its
shuffles, ``decode("pilrgb")``, its transform for training, float batches), with our tokeniser of
bytes in place of its own, which would cost it more.
``loader.same_transform_vs_webdataset``: webdataset's reading, shuffling and batching around our
decoder, transform, masks and uint8 batches, so that both sides give the same kind of batch. How it
goes to the trainer is the loader's: ours sends one block, webdataset's each tensor.

Both sides have one thread a worker: CPU time on two threads of one core is not comparable.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
import webdataset as wds
from interleaved import Timing, cpu_with_children, figure, measure
from loader_ours import Ours
from open_clip import image_transform

from spectranet import Batch
from spectranet.data.collate import collate
from spectranet.data.pipeline import Sample
from spectranet_text.options import TextConfig
from spectranet_text.values import TextTransform, build_transform, decode

__all__ = ["BATCH", "compare_images", "our_loader", "per_core_table", "same_transform"]

SIZE, BATCH, EPOCHS = 256, 32, 2
CROP_SCALE_MIN = 0.9
"""open_clip's default for training; ours is set to the same."""
_SHUFFLED_SHARDS, _SHUFFLED_SAMPLES = (2000, 500), (5000, 1000)
"""Size of the buffers, and how many they hold before the first leaves: open_clip's."""


def compare_images(
    shards: str, samples: int, workers: tuple[int, ...], budget_s: float, suffix: str = ""
) -> None:
    """The last of ``workers`` is the setting that the figures are of; ``suffix`` ends their names."""
    for count in workers:
        ours = our_loader(shards, samples, count, EPOCHS)
        sides = {
            "ours": ours.read_all,
            "webdataset, our samples": partial(read_all, same_transform(ours, shards), samples, count),
            "webdataset, open_clip's": partial(read_all, as_open_clip(shards), samples, count),
        }
        timings = measure(sides, rounds=30, budget_s=budget_s / len(workers), clock=cpu_with_children)
        per_core_table(f"Pictures, {count} worker(s)", timings, EPOCHS * samples)
    ours_took, same, usual = timings.values()
    figure(f"loader.images_vs_webdataset{suffix}", usual.ratio_to(ours_took), "x")
    figure(f"loader.same_transform_vs_webdataset{suffix}", same.ratio_to(ours_took), "x")


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
        "data.threads=1",
        f"modalities.image.size={SIZE}",
        f"modalities.image.crop_scale_min={CROP_SCALE_MIN}",
    ]
    return Ours.of("image", shards, epochs * samples, BATCH, options)


def read_all(pipeline: Callable[[], Any], samples: int, workers: int) -> None:
    """Some epochs through webdataset's loader; the workers have ended when this returns."""
    torch.manual_seed(0)
    dataset = pipeline().repeat(EPOCHS)
    batches = sum(1 for _ in wds.WebLoader(dataset, batch_size=None, shuffle=False, num_workers=workers))
    assert batches == EPOCHS * samples // BATCH, f"{batches} batches of {BATCH} from {samples} samples"


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


def same_transform(ours: Ours, shards: str, skip: int = 0) -> Callable[[], Any]:
    """What our loader makes of a sample, in webdataset's, which first reads past ``skip`` samples."""
    look, numbers = ours.viewers(), itertools.count()

    def prepare(sample: dict[str, Any]) -> Sample:
        seed = (0, "shards", next(numbers))
        views = {
            "image": look["image"].view(sample["jpg"], seed),
            "text": look["text"].view(sample["txt"], seed),
        }
        return Sample(sample["__key__"], views)

    def batch(samples: list[Sample]) -> Batch:
        made = collate(samples, ours.modalities, source="shards", ids=range(len(samples)))
        return Batch(made.keys, made.source, made.ids_B, made.modalities)  # sent tensor by tensor

    return lambda: wds.DataPipeline(
        *_shuffled(shards),
        wds.slice(skip, None),
        wds.select(lambda sample: "txt" in sample and "jpg" in sample),
        wds.map(prepare),
        wds.batched(BATCH, partial=False, collation_fn=batch),
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
