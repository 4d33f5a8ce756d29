"""Texts of different lengths to one tensor."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from spectranet_text.tokenizer import PAD


def collate(samples: list[Mapping[str, np.ndarray]]) -> dict[str, Tensor]:
    """``{"ids": int64 (B, N)}``, padded to the longest with the id of padding."""
    longest = max(len(sample["ids"]) for sample in samples)
    ids_BN = torch.full((len(samples), longest), PAD, dtype=torch.int64)
    for row, sample in enumerate(samples):
        ids_BN[row, : len(sample["ids"])] = torch.from_numpy(sample["ids"])
    return {"ids": ids_BN}
