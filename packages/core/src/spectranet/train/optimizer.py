"""AdamW and its schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from spectranet.config.schema import OptimizerConfig

__all__ = ["build_optimizer", "fill_gradients", "learning_rate"]


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only, and with state for every parameter from the start.

    A parameter whose tower no step has used yet would otherwise have no state, and a checkpoint
    written then could not be loaded later.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if is_matrix(p)], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if not is_matrix(p)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups, lr=config.lr_peak, betas=(config.beta1, config.beta2), eps=config.eps, fused=True
    )
    for parameter in parameters:
        optimizer.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimizer


def is_matrix(parameter: Tensor) -> bool:
    """Whether it has two dimensions that count: a class token (1, 1, D) is a vector."""
    return sum(size > 1 for size in parameter.shape) >= 2


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Learning rate of step ``step`` (0-based): linear warm-up, then a cosine to the floor.

    Cosine as in Loshchilov and Hutter 2017 ("SGDR"), equation 5, without restarts.
    """
    if step < config.warmup_steps:
        return config.lr_peak * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, steps - 1 - config.warmup_steps)
    swing = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return config.lr_floor + (config.lr_peak - config.lr_floor) * swing


def fill_gradients(parameters: Iterable[Tensor]) -> None:
    """A zero gradient for each of them that the step did not use.

    FSDP leaves ``None`` or zeros there depending on what ran earlier in the process. AdamW moves a
    parameter with a zero gradient and skips one without, so a resumed run would take another path.
    """
    for parameter in parameters:
        if parameter.grad is None and parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
