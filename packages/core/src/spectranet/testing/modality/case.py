"""What does a clause need of a modality? Samples, batches and a network, made as the core makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from spectranet.contracts import Encoded, Modality, ModalityBatch
from spectranet.data.collate import collate
from spectranet.data.pipeline import Sample, View, Viewer
from spectranet.testing.modality.tower import CLEAN, Rubbish, Tower, built, fixed_normal, initialised
from spectranet.testing.package.conformance import PackageConformance

__all__ = ["ModalityCase", "projected", "rows_of", "sample_difference"]

_EXAMPLES = 8
_SAMPLES = 4


class ModalityCase(PackageConformance):
    """What all clauses of a modality share.

    Attributes:
        trunk_options: values of the trunk's options, where the modality has one.
        trunk_unused: names of the trunk's parameters that only other modalities use.
        mask_step: tokens that are only hidden together, such as the length of a span or tube.
        fp32_within: how far two ways to the same numbers in fp32 may differ, as a share of the largest.
        bf16_within: how far a bf16 forward may be from the fp32 one, as a share of its norm.
        flops_within: how far declared FLOPs may be from counted ones, as a share.
    """

    kind = "modality"
    trunk_options: ClassVar[Mapping[str, Any]] = {}
    trunk_unused: ClassVar[Sequence[str]] = ()
    mask_step: ClassVar[int] = 1
    fp32_within: ClassVar[float] = 1e-4
    bf16_within: ClassVar[float] = 0.1
    flops_within: ClassVar[float] = 0.1

    @classmethod
    def modality(cls) -> Modality:
        declared: Modality = cls.declaration()
        return declared

    @classmethod
    def trunk_config(cls) -> Any:
        """The options of the trunk, or None."""
        trunk = cls.modality().trunk
        return None if trunk is None else trunk.config(**cls.trunk_options)

    @classmethod
    @cache
    def examples(cls) -> list[bytes]:
        """Encoded samples by ``example()``, the same each time."""
        rng = np.random.default_rng(0)
        return [cls.modality().example(rng) for _ in range(_EXAMPLES)]

    @classmethod
    @cache
    def views(cls, train: bool = True) -> list[View]:
        """A few samples of different lengths, if there are such; some of the tokens of each are hidden.

        How many differs between samples, so that the visible ones are ragged even where every sample has
        the same number of tokens.
        """
        modality = cls.modality()
        ratios = (modality.mask_ratio, 0.5, 0.25, 0.1)
        transform = modality.build_transform(cls.config(), train)
        viewer = Viewer(modality.name, modality.decode, transform, modality.sample_mask, 0.0)
        looked = [viewer.look(content, (0, "conformance", i)) for i, content in enumerate(cls.examples())]
        # One of each length first.
        lengths = [len(one.values.position_NP) for one in looked]
        order = sorted(range(len(looked)), key=lambda i: (lengths[:i].count(lengths[i]), i))
        chosen = [looked[i] for i in order[:_SAMPLES]]
        return [replace(viewer, ratio=ratio).hide(one) for one, ratio in zip(chosen, ratios, strict=True)]

    @classmethod
    def batch(cls, views: Sequence[View] | None = None) -> ModalityBatch:
        """Some samples, by default all of :meth:`views`, through the core's own collate."""
        modality = cls.modality()
        chosen = cls.views() if views is None else views
        samples = [Sample(str(i), {modality.name: view}) for i, view in enumerate(chosen)]
        made = collate(samples, {modality.name: modality}, source="conformance", ids=range(len(samples)))
        return made.modalities[modality.name]

    @classmethod
    @cache
    def tower(cls) -> Tower:
        """The network with its weights of seed 0, in training mode as in a step. Nobody changes it."""
        return cls.new_tower()

    @classmethod
    def new_tower(cls, seed: int = 0, rubbish: Rubbish = CLEAN) -> Tower:
        return initialised(built(cls.modality(), cls.config(), cls.trunk_config()), seed, rubbish)

    @classmethod
    def encode(cls, batch: ModalityBatch) -> Encoded:
        """Without a graph."""
        with torch.no_grad():
            return cls.tower()(batch)


def rows_of(batch: ModalityBatch, start: int, stop: int) -> ModalityBatch:
    """Some samples of a batch, with the padding that they have in it."""
    tensors = {field.name: getattr(batch, field.name) for field in fields(batch) if field.name != "data"}
    cut = {name: tensor[start:stop] for name, tensor in tensors.items()}
    return ModalityBatch(data={name: tensor[start:stop] for name, tensor in batch.data.items()}, **cut)


def sample_difference(found: Encoded, row: int, expected: Encoded, expected_row: int) -> float:
    """How far one sample's encoding is from what it should be, padding aside.

    The largest difference of its tokens as a share of the largest of them, or of its pooled vector as a
    share of that, whichever is more: neither hides behind the other's scale. Infinite where something is not
    finite.
    """
    tokens = (one.tokens_BND[at][one.valid_BN[at]] for one, at in ((found, row), (expected, expected_row)))
    return max(_difference(*tokens), _difference(found.pooled_BD[row], expected.pooled_BD[expected_row]))


def _difference(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape or not bool(found.isfinite().all()):
        return float("inf")
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    apart = float((found - expected).abs().max()) if expected.numel() else 0.0
    return apart / largest if largest else apart


def projected(encoded: Encoded) -> Tensor:
    """A number on which every valid token and every pooled vector has its own influence."""
    tokens_BVD, pooled_BD = encoded.tokens_BND.float(), encoded.pooled_BD.float()
    kept_BVD = tokens_BVD.masked_fill(~encoded.valid_BN[..., None], 0.0)
    return (kept_BVD * fixed_normal(*kept_BVD.shape)).sum() + (
        pooled_BD * fixed_normal(*pooled_BD.shape)
    ).sum()
