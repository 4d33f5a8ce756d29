"""From samples to a batch of padded tensors.

Suffixes: B samples, N tokens of the longest sample, P coordinates, K indices of the longest row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from spectranet.contracts import Batch, Modality, ModalityBatch
from spectranet.data.block import pack, unpack
from spectranet.data.failures import Skipped
from spectranet.data.pipeline import Sample, View

__all__ = ["LoadedBatch", "collate"]


@dataclass
class LoadedBatch(Batch):
    """A batch that also says which samples could not be used while it was made."""

    skipped: tuple[Skipped, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles as one block, in which the tensors of the copy are views."""
        return _unpacked, pack(vars(self))


def _unpacked(block: torch.Tensor, rest: bytes) -> LoadedBatch:
    return LoadedBatch(**unpack(block, rest))


def collate(
    samples: Sequence[Sample],
    modalities: Mapping[str, Modality],
    *,
    source: str,
    ids: Sequence[int],
    skipped: Sequence[Skipped] = (),
) -> LoadedBatch:
    """Stack samples of one source; widths are those of the longest sample in the batch."""
    return LoadedBatch(
        keys=tuple(sample.key for sample in samples),
        source=source,
        ids_B=torch.tensor(ids, dtype=torch.int64),
        modalities={
            name: _collate_modality([sample.views[name] for sample in samples], modalities[name])
            for name in sorted(samples[0].views)
        },
        skipped=tuple(skipped),
    )


def _collate_modality(views: list[View], modality: Modality) -> ModalityBatch:
    longest = max(len(view.hidden_N) for view in views)
    coordinates = views[0].values.position_NP.shape[1]
    position_BNP = np.zeros((len(views), longest, coordinates), dtype=np.int64)
    segment_BN = np.full((len(views), longest), -1, dtype=np.int64)
    valid_BN = np.zeros((len(views), longest), dtype=bool)
    for i, view in enumerate(views):
        tokens = len(view.hidden_N)
        position_BNP[i, :tokens] = view.values.position_NP
        segment_BN[i, :tokens] = view.values.segment_N
        valid_BN[i, :tokens] = True
    visible_BV, visible_valid_BV = _indices([~view.hidden_N for view in views])
    hidden_BH, hidden_valid_BH = _indices([view.hidden_N for view in views])
    return ModalityBatch(
        data=modality.collate([view.values.data for view in views]),
        position_BNP=torch.from_numpy(position_BNP),
        segment_BN=torch.from_numpy(segment_BN),
        valid_BN=torch.from_numpy(valid_BN),
        visible_BV=visible_BV,
        visible_valid_BV=visible_valid_BV,
        hidden_BH=hidden_BH,
        hidden_valid_BH=hidden_valid_BH,
        content_B=torch.tensor([view.content for view in views], dtype=torch.int64),
    )


def _indices(masks: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Where each mask is True, ascending, padded with index 0; and which entries are no padding."""
    rows = [np.flatnonzero(mask) for mask in masks]
    longest = max(len(row) for row in rows)
    index_BK = np.zeros((len(rows), longest), dtype=np.int64)
    for i, row in enumerate(rows):
        index_BK[i, : len(row)] = row
    valid_BK = np.arange(longest)[None, :] < np.array([len(row) for row in rows])[:, None]
    return torch.from_numpy(index_BK), torch.from_numpy(valid_BK)
