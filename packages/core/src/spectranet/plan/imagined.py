"""How does training code run on tensors that have shapes and no contents?

torch's ``FakeTensorMode`` gives every operation its result's shape and nothing else; it stops where a
program asks for a value. Two things answer for it here. What comes from the data alone (which tokens
are hidden, who belongs together) is small and stays real, so that masks, counts and weights are those
of the batch. What depends on activations is answered for the worst case: every row is selected, every
comparison holds, a number is one.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    FakeTensor,
    FakeTensorMode,
    in_kernel_invocation_manager,
    unset_fake_temporarily,
)
from torch.utils._pytree import tree_map

from spectranet.plan.meter import tensors_in

__all__ = ["Answers"]

aten = torch.ops.aten

_MOST_REAL_FLOATS = 4096
"""Real integers turned to floating point stay real up to this size: weights do, position codes do not."""


class Answers:
    """Runs an operation: for real where all its inputs are real, else imagined, with the answers above.

    It is what a :class:`~spectranet.plan.meter.Meter` calls inside ``FakeTensorMode``; a mode of its own
    would cost as much time again.
    """

    def __init__(self, fake: FakeTensorMode) -> None:
        self.fake = fake

    def __call__(self, func: Any, args: Any, kwargs: Any) -> Any:
        if func is torch.ops.prim.device.default and isinstance(args[0], FakeTensor):
            return args[0].fake_device  # asked twice an operation
        tensors = tensors_in(args) + tensors_in(kwargs.values())
        if tensors and not any(isinstance(each, FakeTensor) or each.is_meta for each in tensors):
            return self._run(func, args, kwargs)
        if answer := _ANSWERS.get(func):
            return answer(func, args, kwargs)
        if func.is_view and len(tensors) == 1:
            return self._view(func, args, kwargs)
        return func(*args, **kwargs)

    def _view(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What the mode would give, without its book-keeping: half of all operations are views."""
        with in_kernel_invocation_manager(self.fake):
            views = func(*args, **kwargs)
        device = args[0].fake_device
        return tree_map(lambda view: FakeTensor(self.fake, view, device), views)

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        with unset_fake_temporarily():
            result = func(*args, **kwargs)
        return tree_map(self._forget_large, result)

    def _forget_large(self, value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point() and value.numel() > _MOST_REAL_FLOATS:
            return self.fake.from_tensor(value)
        return value


def _number(func: Any, args: Any, kwargs: Any) -> Any:
    dtype = args[0].dtype
    return True if dtype == torch.bool else 1.0 if dtype.is_floating_point else 1


def _everywhere(func: Any, args: Any, kwargs: Any) -> Tensor:
    """``nonzero`` of a tensor that is true everywhere."""
    return torch.empty(args[0].numel(), args[0].ndim, dtype=torch.int64, device=args[0].device)


def _all_distinct(func: Any, args: Any, kwargs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """``unique`` where no two values are equal: (values, inverse, counts)."""
    values = args[0].reshape(-1).clone()
    return values, torch.empty_like(args[0], dtype=torch.int64), torch.ones_like(values, dtype=torch.int64)


def _select_all(func: Any, args: Any, kwargs: Any) -> Tensor:
    """``masked_select`` where the mask is true everywhere."""
    values, _mask = torch.broadcast_tensors(args[0], args[1])
    return values.reshape(-1).clone()


def _index_all(func: Any, args: Any, kwargs: Any) -> Any:
    """Indexing by masks, each turned into the places it selects: a real one's own, else all."""
    places: list[Tensor | None] = []
    for index in args[1]:
        if index is None or index.dtype not in (torch.bool, torch.uint8):
            places.append(index)
        elif isinstance(index, FakeTensor):
            count = math.prod(index.shape)
            places += [torch.empty(count, dtype=torch.int64, device=index.device) for _ in index.shape]
        else:
            with unset_fake_temporarily():
                places += index.nonzero(as_tuple=True)
    return func(args[0], places, *args[2:], **kwargs)


_ANSWERS = {
    aten._local_scalar_dense.default: _number,
    aten.equal.default: lambda func, args, kwargs: True,
    aten.nonzero.default: _everywhere,
    aten._unique2.default: _all_distinct,
    aten.masked_select.default: _select_all,
    aten.index.Tensor: _index_all,
    aten._unsafe_index.Tensor: _index_all,
    aten.index_put.default: _index_all,
    aten.index_put_.default: _index_all,
    aten._index_put_impl_.default: _index_all,
}
