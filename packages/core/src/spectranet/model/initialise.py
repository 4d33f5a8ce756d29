"""From a model on the meta device to weights, the same for every number of ranks."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import torch
from torch import nn

__all__ = ["init_linear", "init_transformers", "initialise", "materialise"]


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
    """Give a meta module storage on ``device`` and its first weights."""
    module.to_empty(device=device)
    initialise(module, name, seed, device)


def initialise(module: nn.Module, name: str, seed: int, device: torch.device) -> None:
    """Call ``init_weights()`` of a module that has storage on ``device``.

    The generator is seeded from (seed, name) alone, and the whole module is initialised before it
    is sharded, so weights do not depend on the number of ranks or on what else was built.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad():
        # In 32 bits: of more, torch's generator on the CPU takes the lower ones alone.
        torch.manual_seed(zlib.crc32(name.encode(), seed & 0xFFFFFFFF))
        module.init_weights()  # type: ignore[operator]
