"""How does a rank alone compute in bf16? With copies of its fp32 parameters, made as they are needed.

Between ranks FSDP does that while it gathers. Alone it would gather nothing and still copy every
parameter into place twice a step and every gradient out of it, which on a CPU takes longer than the
products that bf16 makes faster. Here a parameter is cast where a block, an encoder or an objective
starts, and its gradient comes back in fp32 through the cast, micro-batch by micro-batch, as with FSDP.

The copies that a block's backward needs live until then: two bytes a parameter more than FSDP holds, which
a plan for one device counts. Where activations are recomputed, ``selective`` or ``full``, so are the copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

__all__ = ["cast_block", "cast_calls"]

_OBJECTIVE_METHODS = ("queries", "loss", "embeddings", "global_loss")


def cast_block(block: nn.Module, dtype: torch.dtype) -> None:
    """Run ``block`` in ``dtype``: its parameters, and what it is given."""
    forward = _with_cast_parameters(block, block.forward, dtype)

    def in_dtype(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = tree_map(lambda value: _cast(value, dtype), (args, kwargs))
        return forward(*args, **kwargs)

    block.forward = in_dtype  # type: ignore[method-assign]
    block.casts_itself = True  # type: ignore[assignment]


def cast_calls(part: nn.Module, dtype: torch.dtype) -> None:
    """Let an encoder, the memory, the decoder or an objective see its parameters in ``dtype``.

    So are those of a module that it is handed: a trunk. Blocks that :func:`cast_block` has seen to, and
    modules with ``full_precision = True``, are left as they are.
    """
    names = ("forward", *(name for name in _OBJECTIVE_METHODS if hasattr(part, name)))
    for name in names:
        setattr(part, name, _with_cast_parameters(part, getattr(part, name), dtype))


def _with_cast_parameters(
    module: nn.Module, call: Callable[..., Any], dtype: torch.dtype
) -> Callable[..., Any]:
    def cast_call(*args: Any, **kwargs: Any) -> Any:
        with _seen_in(dtype, module, *(each for each in args if isinstance(each, nn.Module))):
            return call(*args, **kwargs)

    return cast_call


@contextmanager
def _seen_in(dtype: torch.dtype, *modules: nn.Module) -> Iterator[None]:
    """An instance attribute hides the parameter of its name, which stays registered and is not touched.

    What a caller has hidden already is his to show again: a trunk's, where an encoder calls the trunk.
    """
    owned = [one for module in modules for one in _owned(module)]
    hidden = [one for one in owned if one[1] not in one[0].__dict__]
    for module, name, parameter in hidden:
        module.__dict__[name] = _cast(parameter, dtype)
    try:
        yield
    finally:
        for module, name, _ in hidden:
            del module.__dict__[name]


def _owned(module: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    for name, parameter in module._parameters.items():
        if parameter is not None:
            yield module, name, parameter
    for child in module.children():
        if not (getattr(child, "casts_itself", False) or getattr(child, "full_precision", False)):
            yield from _owned(child)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
