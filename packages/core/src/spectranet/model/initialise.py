"""From a model on the meta device to weights, the same for every number of ranks."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import torch
from torch import nn

__all__ = ["init_linear", "init_transformers", "materialise"]


def init_linear(module: nn.Module, std: float = 0.02) -> None:
    """Weights of every linear and embedding layer in ``module`` from N(0, std), biases zero, norms one."""
    for child in module.modules():
        if isinstance(child, nn.Linear | nn.Embedding):
            nn.init.normal_(child.weight, std=std)
        elif isinstance(child, nn.LayerNorm | nn.RMSNorm) and child.weight is not None:
            nn.init.ones_(child.weight)
        bias = getattr(child, "bias", None)
        if isinstance(bias, nn.Parameter):
            nn.init.zeros_(bias)


def init_transformers(model: nn.Module) -> None:
    """Initialise a materialised ``transformers`` model by the library's own rules.

    Buffers that the library computes in constructors (position ids) are set again as well.
    """
    initialise: Callable[[nn.Module], None] = model._init_weights  # type: ignore[assignment]
    model.apply(initialise)


def materialise(module: nn.Module, name: str, seed: int, device: torch.device) -> None:
    """Give a meta module storage on ``device`` and call its ``init_weights()``.

    The generator is seeded from (seed, name) alone, and the whole module is initialised before it
    is sharded, so weights do not depend on the number of ranks or on what else was built.
    """
    module.to_empty(device=device)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad():
        torch.manual_seed((seed << 32) ^ zlib.crc32(name.encode()))
        module.init_weights()  # type: ignore[operator]
