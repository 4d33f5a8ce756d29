"""What is the largest batch that a source can give?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from spectranet.config import Config, source_options
from spectranet.contracts import Batch, Modality, Values
from spectranet.data.collate import collate
from spectranet.data.pipeline import Sample, View
from spectranet.data.ratios import hidden_ratios

__all__ = ["imagined_batch", "largest_batch"]

_DRAWS = 16


def largest_batch(config: Config, modalities: Mapping[str, Modality], source: str, size: int) -> Batch:
    """``size`` samples of ``source``, each as large as its options allow, masked as in training."""
    options = config.data.sources[source]
    ratios = hidden_ratios(config, modalities)
    views = {
        name: _view(modalities[name], source_options(config, options, name), ratios.get(name, 0.0))
        for name in sorted(options.modalities)
    }
    samples = [Sample(str(number), views) for number in range(size)]
    return collate(samples, modalities, source=source, ids=range(size))


def imagined_batch(batch: Batch, fake: FakeTensorMode) -> Batch:
    """The same batch, of which only what is counted and indexed is real."""

    def imagine(tensor: Tensor) -> Tensor:
        counted = tensor.dtype in (torch.int64, torch.int32, torch.bool)
        return tensor if counted else fake.from_tensor(tensor)

    for modality in batch.modalities.values():
        modality.data = {name: imagine(tensor) for name, tensor in modality.data.items()}
    return batch


def _view(modality: Modality, options: object, ratio: float) -> View:
    values = modality.largest(options) if modality.largest else _largest_example(modality, options)
    hidden_N = np.zeros(len(values.position_NP), dtype=bool)
    if ratio > 0:
        hidden_N = modality.sample_mask(values, ratio, np.random.default_rng(0))
    return View(values, content=0, hidden_N=hidden_N)


def _largest_example(modality: Modality, options: object) -> Values:
    """What a modality that does not say how large its samples are gives of its own examples."""
    transform, rng = modality.build_transform(options, True), np.random.default_rng(0)
    drawn = [transform(modality.decode(modality.example(rng)), rng) for _ in range(_DRAWS)]
    return max(drawn, key=lambda values: len(values.position_NP))
