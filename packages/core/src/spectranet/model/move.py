"""Batches from host to device."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from spectranet.contracts import Batch, ModalityBatch

__all__ = ["to_device"]


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The same batch with its tensors on ``device``."""
    if device.type == "cpu":
        return batch

    def move(tensor: Tensor) -> Tensor:
        return tensor.to(device, non_blocking=True)

    def move_modality(one: ModalityBatch) -> ModalityBatch:
        tensors = {
            field.name: move(getattr(one, field.name))
            for field in dataclasses.fields(one)
            if field.name != "data"
        }
        return ModalityBatch(data={name: move(value) for name, value in one.data.items()}, **tensors)

    modalities = {name: move_modality(one) for name, one in batch.modalities.items()}
    return dataclasses.replace(batch, ids_B=move(batch.ids_B), modalities=modalities)
