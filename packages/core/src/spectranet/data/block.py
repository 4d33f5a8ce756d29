"""How does a batch go from a worker to the trainer? As one block of memory that both can see.

A worker would otherwise hand over each tensor by itself: a file, a mapping and a message for every one
of the twenty tensors of a batch of two modalities.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import torch
from torch.utils.data import get_worker_info

__all__ = ["pack", "unpack"]

_ALIGNMENT = 64
"""Bytes: a cache line, which is also what every dtype needs."""


def pack(value: Any) -> tuple[torch.Tensor, bytes]:
    """All tensors of ``value``, which pickles, one after another in a uint8 block; and all the rest.

    In a worker of a DataLoader the block is shared memory from the start, so that sending it copies
    nothing.
    """
    file = io.BytesIO()
    pickler = _Pickler(file, pickle.HIGHEST_PROTOCOL)
    pickler.dump(value)
    block = _allocate(pickler.size)
    for place, tensor in zip(pickler.places, pickler.tensors, strict=True):
        _at(block, *place).copy_(tensor)
    return block, file.getvalue()


def unpack(block: torch.Tensor, rest: bytes) -> Any:
    """What was packed; its tensors are views of the block."""
    return _Unpickler(block, rest).load()


_Place = tuple[int, torch.dtype, tuple[int, ...], tuple[int, ...]]
"""Where a tensor is in the block: first byte, dtype, shape, strides."""


class _Pickler(pickle.Pickler):
    """Pickles everything but tensors, for which it keeps room in a block."""

    def __init__(self, file: io.BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self.size = 0
        self.tensors: list[torch.Tensor] = []
        self.places: list[_Place] = []

    def persistent_id(self, value: Any) -> _Place | None:
        if not isinstance(value, torch.Tensor):
            return None
        # The order in memory stays, as pictures with their colours last; gaps and overlaps do not.
        laid_out = torch.empty_like(value, device="meta", memory_format=torch.preserve_format)
        place = self.size, value.dtype, tuple(value.shape), laid_out.stride()
        self.size += -(-value.numel() * value.element_size() // _ALIGNMENT) * _ALIGNMENT
        self.tensors.append(value)
        self.places.append(place)
        return place


class _Unpickler(pickle.Unpickler):
    def __init__(self, block: torch.Tensor, rest: bytes) -> None:
        super().__init__(io.BytesIO(rest))
        self._block = block

    def persistent_load(self, place: _Place) -> torch.Tensor:
        return _at(self._block, *place)


def _at(
    block: torch.Tensor, first: int, dtype: torch.dtype, shape: tuple[int, ...], strides: tuple[int, ...]
) -> torch.Tensor:
    # Places and the whole block are multiples of the alignment, so the rest of the block is whole elements.
    rest = block[first:].view(dtype)
    return torch.as_strided(rest, shape, strides, rest.storage_offset())


def _allocate(size: int) -> torch.Tensor:
    if get_worker_info() is None:
        return torch.empty(size, dtype=torch.uint8)
    # As DataLoader's own collation does: there is no public way to get shared memory without a copy.
    return torch.empty(0, dtype=torch.uint8).set_(torch.UntypedStorage._new_shared(size))  # type: ignore[call-overload]
