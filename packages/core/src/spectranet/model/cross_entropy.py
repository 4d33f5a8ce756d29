"""How cross-entropy over a large vocabulary is computed without holding its logits.

Shape suffixes: R rows, C rows of a chunk, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["chunked_cross_entropy"]

_PIECES = 4096
"""Rows of the weight whose gradient is computed at once where it is summed in another dtype."""


def chunked_cross_entropy(
    states_RD: Tensor,
    weight_VD: Tensor,
    targets_R: Tensor,
    *,
    bias_V: Tensor | None = None,
    chunk: int = 512,
) -> Tensor:
    """Sum over the rows of the cross-entropy of ``states @ weight.T`` against ``targets``, in fp32.

    Logits are made ``chunk`` rows at a time, turned in place into the loss and its gradients, and
    dropped: no (R, V) tensor is held, and nothing is computed twice. What is kept for the backward is
    the gradients themselves, at the states and the weight. The matrix products run in the states'
    dtype; bias, log-sum-exp and sums over chunks in fp32 (float64 for float64); autocast is off.

    Rows whose target is negative count nothing. No rows give a zero that has a gradient. It can be
    differentiated once.
    """
    keeps_gradient = torch.is_grad_enabled()
    total: Tensor = _CrossEntropy.apply(states_RD, weight_VD, bias_V, targets_R, chunk, keeps_gradient)
    return total


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states_RD: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        targets_R: Tensor,
        chunk: int,
        keeps_gradient: bool,
    ) -> Tensor:
        wanted = [needed and keeps_gradient for needed in ctx.needs_input_grad[:3]]
        with torch.autocast(states_RD.device.type, enabled=False):
            chunks = _Chunks(states_RD, weight_VD, bias_V, min(chunk, len(states_RD)), wanted)
            total = chunks.full.new_zeros(())
            for start in range(0, len(states_RD), chunk):
                total += chunks.loss(slice(start, start + chunk), targets_R[start : start + chunk])
        ctx.save_for_backward(*chunks.gradients())
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *(None if kept is None else kept * grad for kept in ctx.saved_tensors), None, None, None


class _Chunks:
    """The buffers that all chunks share, since fresh pages cost as much as the arithmetic on them.

    ``logits`` is in the dtype of the products, ``full`` in fp32; one tensor where these are the same,
    else ``mixed``.
    """

    def __init__(
        self, states_RD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, chunk: int, wanted: list[bool]
    ) -> None:
        self.states_RD = states_RD
        self.dtypes = weight_VD.dtype, weight_VD.dtype if bias_V is None else bias_V.dtype
        self.weight_VD = weight_VD.to(states_RD.dtype)
        self.bias_V = bias_V
        self.slope_too = any(wanted)
        full = torch.promote_types(states_RD.dtype, torch.float32)
        self.logits = states_RD.new_empty(chunk, len(weight_VD))
        self.mixed = states_RD.dtype != full
        self.full = self.logits.to(full)
        states, weight, bias = wanted
        self.grad_states = torch.zeros_like(states_RD) if states else None
        self.grad_weight = torch.zeros_like(weight_VD, dtype=full) if weight else None
        self.grad_bias = self.full.new_zeros(len(weight_VD)) if bias else None

    def loss(self, rows: slice, targets_C: Tensor) -> Tensor:
        """The loss of these rows, summed; their share of the gradients is added."""
        count = len(targets_C)
        logits_CV, full_CV = self.logits[:count], self.full[:count]
        torch.mm(self.states_RD[rows], self.weight_VD.T, out=logits_CV)
        if self.mixed:
            full_CV.copy_(logits_CV)
        if self.bias_V is not None:
            full_CV += self.bias_V
        loss = _loss_then_slope(full_CV, targets_C, self.slope_too)
        if self.slope_too:
            self._add_gradients(rows, full_CV, logits_CV.copy_(full_CV) if self.mixed else full_CV)
        return loss

    def gradients(self) -> tuple[Tensor | None, ...]:
        """Those at states, weight and bias, in the dtypes of these."""
        del self.logits, self.full  # before there are two copies of the weight's
        both = zip((self.grad_weight, self.grad_bias), self.dtypes, strict=True)
        return self.grad_states, *(None if grad is None else grad.to(dtype) for grad, dtype in both)

    def _add_gradients(self, rows: slice, full_CV: Tensor, slope_CV: Tensor) -> None:
        if self.grad_bias is not None:
            self.grad_bias += full_CV.sum(0)
        if self.grad_states is not None:
            torch.mm(slope_CV, self.weight_VD, out=self.grad_states[rows])
        if self.grad_weight is not None and not self.mixed:
            self.grad_weight.addmm_(slope_CV.T, self.states_RD[rows])
        elif self.grad_weight is not None:
            # in pieces that stay in the cache until they are added
            for slope, grad in zip(slope_CV.split(_PIECES, 1), self.grad_weight.split(_PIECES), strict=True):
                grad += slope.T @ self.states_RD[rows]


def _loss_then_slope(logits_CV: Tensor, targets_C: Tensor, slope_too: bool) -> Tensor:
    """The chunk's loss, summed; the logits become its gradient at them where that is asked for."""
    ignored_C1 = (targets_C < 0).unsqueeze(1)
    target_C1 = targets_C.clamp_min(0).unsqueeze(1)
    own_C1 = logits_CV.gather(1, target_C1)
    top_C1 = logits_CV.amax(1, keepdim=True)
    sum_C1 = logits_CV.sub_(top_C1).exp_().sum(1, keepdim=True)
    if slope_too:
        logits_CV.div_(sum_C1.masked_fill(ignored_C1, torch.inf))
        logits_CV.scatter_add_(1, target_C1, ignored_C1.to(logits_CV.dtype) - 1)
    return (sum_C1.log() + (top_C1 - own_C1)).masked_fill(ignored_C1, 0).sum()
