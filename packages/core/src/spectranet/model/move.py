"""Batches from host to device, without a wait for what the device has yet to do."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from spectranet.contracts import Batch, ModalityBatch

__all__ = ["to_device"]


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The same batch with its tensors on ``device``; the one it was made from is its ``host``."""
    if device.type == "cpu":
        return batch

    def move(tensor: Tensor) -> Tensor:
        # What is copied from ordinary memory to a GPU waits there for all that is queued before it.
        pinned = tensor.pin_memory() if device.type == "cuda" else tensor
        return pinned.to(device, non_blocking=True)

    def move_modality(one: ModalityBatch) -> ModalityBatch:
        tensors = {
            field.name: move(getattr(one, field.name))
            for field in dataclasses.fields(one)
            if field.name != "data"
        }
        moved = ModalityBatch(data={name: move(value) for name, value in one.data.items()}, **tensors)
        return moved.moved_from(one.host)

    modalities = {name: move_modality(one) for name, one in batch.modalities.items()}
    moved = dataclasses.replace(batch, ids_B=move(batch.ids_B), modalities=modalities)
    return moved.moved_from(batch.host)
