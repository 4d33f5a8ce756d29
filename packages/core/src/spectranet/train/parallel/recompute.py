"""Which activations are computed again in the backward, instead of being kept from the forward?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    SelectiveCheckpointContext,
    checkpoint,
    create_selective_checkpoint_contexts,
)

__all__ = ["recompute_activations"]

aten = torch.ops.aten

_PRODUCTS = {aten.mm.default, aten.addmm.default, aten.bmm.default, aten.linear.default}
_ATTENTION = {
    aten._scaled_dot_product_flash_attention.default,
    aten._scaled_dot_product_efficient_attention.default,
    aten._scaled_dot_product_cudnn_attention.default,
    aten._scaled_dot_product_flash_attention_for_cpu.default,
}


def recompute_activations(module: nn.Module, how: str) -> None:
    """Wrap ``module.forward``, without renaming its parameters.

    Args:
        how: ``none``; ``full`` keeps the module's inputs alone; ``selective`` also what is dearest to make
            again: attention, and every other matrix product. That rule is torchtitan's
            (``torchtitan/distributed/activation_checkpoint.py``, per-op selection).
    """
    if how == "none":
        return
    forward = module.forward
    options: dict[str, Any] = {"context_fn": _selective} if how == "selective" else {}

    def recomputed(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(forward, *args, use_reentrant=False, **options, **kwargs)

    module.forward = recomputed  # type: ignore[method-assign]


def _policy() -> Callable[..., CheckpointPolicy]:
    """A policy for one call of one module; it counts products in the forward and again in the backward."""
    products: Counter[bool] = Counter()

    def policy(context: SelectiveCheckpointContext, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
        if op in _PRODUCTS:
            products[context.is_recompute] += 1
            kept = products[context.is_recompute] % 2 == 1
        else:
            kept = op in _ATTENTION
        return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE

    return policy


def _selective() -> Any:
    return create_selective_checkpoint_contexts(_policy())
