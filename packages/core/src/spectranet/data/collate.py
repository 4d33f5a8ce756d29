"""From samples to a batch of padded tensors.

Suffixes: B samples, N tokens of the longest sample, P coordinates, K indices of the longest row, X all
indices.
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
    hidden_BN = _pad([view.hidden_N for view in views], False)
    lengths_B1 = np.array([[len(view.hidden_N)] for view in views])
    valid_BN = np.arange(hidden_BN.shape[1]) < lengths_B1
    visible_BV, visible_valid_BV = _indices(valid_BN & ~hidden_BN)
    hidden_BH, hidden_valid_BH = _indices(hidden_BN)
    position_BNP = _pad([view.values.position_NP for view in views], 0)
    segment_BN = _pad([view.values.segment_N for view in views], -1)
    return ModalityBatch(
        data=modality.collate([view.values.data for view in views]),
        position_BNP=torch.from_numpy(position_BNP.astype(np.int64, copy=False)),
        segment_BN=torch.from_numpy(segment_BN.astype(np.int64, copy=False)),
        valid_BN=torch.from_numpy(valid_BN),
        visible_BV=visible_BV,
        visible_valid_BV=visible_valid_BV,
        hidden_BH=hidden_BH,
        hidden_valid_BH=hidden_valid_BH,
        content_B=torch.tensor([view.content for view in views], dtype=torch.int64),
    )


def _pad(rows: list[np.ndarray], filler: int) -> np.ndarray:
    """Stacked (N, …) arrays, the shorter ones filled up."""
    longest = max(len(row) for row in rows)
    if all(len(row) == longest for row in rows):
        return np.stack(rows)
    padded = np.full((len(rows), longest, *rows[0].shape[1:]), filler, dtype=rows[0].dtype)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return padded


def _indices(mask_BN: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Where each row is True, ascending, padded with index 0; and which entries are no padding."""
    counts_B = mask_BN.sum(axis=1)
    row_X, index_X = np.nonzero(mask_BN)
    place_X = np.arange(len(index_X)) - (np.cumsum(counts_B) - counts_B)[row_X]
    index_BK = np.zeros((len(mask_BN), counts_B.max(initial=0)), dtype=np.int64)
    index_BK[row_X, place_X] = index_X
    valid_BK = np.arange(index_BK.shape[1]) < counts_B[:, None]
    return torch.from_numpy(index_BK), torch.from_numpy(valid_BK)
