"""Tokens of several gauges in one tensor."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch


def collate(items: list[Mapping[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    levels = [torch.from_numpy(np.array(item["levels"])) for item in items]
    return {"levels": torch.nn.utils.rnn.pad_sequence(levels, batch_first=True)}
