"""What does a piece of training code cost: bytes that are alive, FLOPs, bytes between ranks?

Works on real and on imagined tensors alike, so a plan can be compared with a measurement made by the
same instrument. It replaces two of torch's tools that cannot run together or through a step of two
passes: ``FSDPMemTracker`` refuses a second call of the root, and ``FlopCounterMode`` beside it leaks.
The formulas for FLOPs are torch's own.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

__all__ = ["Meter", "tensors_in"]

aten, c10d = torch.ops.aten, torch.ops.c10d

_attention, _backward = (
    aten._scaled_dot_product_flash_attention,
    aten._scaled_dot_product_flash_attention_backward,
)
_FORMULAS = {
    # torch knows the attention of GPUs; the CPU's takes its arguments in the same order.
    aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[_attention],
    aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[_backward],
    **flop_registry,
}
_WHOLE = {
    c10d._allgather_base_.default: ("all-gather", 0),
    c10d.allgather_.default: ("all-gather of rows", 0),
    c10d._reduce_scatter_base_.default: ("reduce-scatter", 1),
    c10d.allreduce_.default: ("all-reduce", 0),
}
"""Collective -> its name, and which argument is the whole of what the ranks hold together. FSDP gathers
weights by the first; rows of the global batch are gathered one tensor a rank."""


@dataclass(eq=False)
class Meter(TorchDispatchMode):
    """Counts while it is entered.

    Args:
        run: what runs an operation: ``(func, args, kwargs) -> result``.

    Attributes:
        alive: bytes of the storages that exist now and were seen so far.
        peak: the most that were alive at once.
        operations: how many a device would be told to run.
        flops: a multiplication and an addition counting as two.
        collectives: name -> bytes of the whole tensors that were gathered or reduced.
    """

    run: Callable[[Any, Any, Any], Any] = lambda func, args, kwargs: func(*args, **kwargs)
    alive: int = 0
    peak: int = 0
    operations: int = 0
    flops: int = 0
    collectives: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        super().__init__()
        self._bytes: dict[int, int] = {}
        self._watched: dict[int, weakref.ref[Any]] = {}

    def __enter__(self) -> Meter:
        resize, meter = torch.UntypedStorage.resize_, self
        self._resize = resize

        def resize_and_count(storage: torch.UntypedStorage, size: int) -> Any:
            result = resize(storage, size)
            if id(storage) in meter._watched:
                meter._see(storage)
            return result

        # FSDP frees and refills gathered parameters this way, past the dispatcher.
        torch.UntypedStorage.resize_ = resize_and_count  # type: ignore[method-assign]
        super().__enter__()
        return self

    def __exit__(self, *args: Any) -> None:
        torch.UntypedStorage.resize_ = self._resize  # type: ignore[method-assign]
        super().__exit__(*args)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(each, DTensor) for each in types):
            return NotImplemented  # it comes back as operations on the local shards
        kwargs = kwargs or {}
        result = self.run(func, args, kwargs)
        self.watch((result,))
        self.operations += func.namespace == "aten" and not func.is_view
        if formula := _FORMULAS.get(func._overloadpacket):
            self.flops += formula(*args, **kwargs, out_val=result)
        elif func in _WHOLE:
            name, place = _WHOLE[func]
            self.collectives[name] += sum(t.nbytes for t in tensors_in((args[place],)))
        return result

    def restart(self) -> None:
        """Forget all but what is alive, and the peak."""
        self.operations, self.flops, self.collectives = 0, 0, Counter()

    def watch(self, values: Iterable[Any]) -> None:
        """Count tensors that were made before or elsewhere; of a DTensor, the local shard."""
        for tensor in tensors_in(values):
            local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
            self._see(local.untyped_storage())

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key not in self._watched:
            self._watched[key] = weakref.ref(storage, lambda _: self._forget(key))
        self.alive += size - self._bytes.get(key, 0)
        self._bytes[key] = size
        self.peak = max(self.peak, self.alive)

    def _forget(self, key: int) -> None:
        del self._watched[key]
        self.alive -= self._bytes.pop(key)


def tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among an operation's arguments or results, which nest in lists and tuples only."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors_in(value)
    return found
