"""Losses over all pairs of two sets of vectors, in memory that grows with their number, not its square.

The similarities are made in blocks of rows, reduced and dropped; the backward makes each block once
more. Both directions (rows over columns, columns over rows) are reduced from the same block.

Everything is computed in fp32, or in float64 where the inputs are; autocast is switched off.
Shape suffixes: R rows, C columns, E width; ``scale_1`` and ``bias_1`` have one element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Keep", "Reduced", "reduce_both_ways", "reduce_rows", "sigmoid_pair_loss"]

Keep = Callable[[slice], Tensor]
"""Which pairs count: given a slice of the rows, a bool (rows, C). None: all of them."""

_BLOCK_ELEMENTS = 1 << 21
"""Logits held at once: 8 MiB in fp32, and some blocks of the same size for what is made of them."""


class Reduced(NamedTuple):
    """Log-sum-exp of the logits of each row and column, and where the largest logit stands."""

    lse_R: Tensor
    lse_C: Tensor
    best_R: Tensor
    best_C: Tensor


def reduce_both_ways(a_RE: Tensor, b_CE: Tensor, scale_1: Tensor, keep: Keep | None = None) -> Reduced:
    """Reduce ``scale * a @ b.T`` over its columns and over its rows.

    Every row and every column must have a pair that ``keep`` keeps.
    """
    return Reduced(*_LogSumExp.apply(*_in_full(a_RE, b_CE, scale_1), keep, True))


def reduce_rows(
    a_RE: Tensor, b_CE: Tensor, scale_1: Tensor, keep: Keep | None = None
) -> tuple[Tensor, Tensor]:
    """As :func:`reduce_both_ways`, each row over its columns only: (lse_R, best_R)."""
    lse_R, _, best_R, _ = _LogSumExp.apply(*_in_full(a_RE, b_CE, scale_1), keep, False)
    return lse_R, best_R


def sigmoid_pair_loss(
    a_RE: Tensor, b_RE: Tensor, scale_1: Tensor, bias_1: Tensor, keep: Keep | None = None
) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy of every pair, the diagonal being the positives, summed: (sum, best_R).

    Zhai et al. 2023, "Sigmoid loss for language image pre-training", equation 1 before the division.
    """
    loss, best_R = _SigmoidPairs.apply(*_in_full(a_RE, b_RE, scale_1, bias_1), keep)
    return loss, best_R


def _in_full(*tensors: Tensor) -> list[Tensor]:
    return [t.to(torch.promote_types(t.dtype, torch.float32)) for t in tensors]


def _row_blocks(rows: int, columns: int) -> Iterator[slice]:
    size = max(1, _BLOCK_ELEMENTS // max(1, columns))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def _masked(logits: Tensor, keep: Keep | None, rows: slice) -> Tensor:
    return logits if keep is None else logits.masked_fill_(~keep(rows), -torch.inf)


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a_RE: Tensor, b_CE: Tensor, scale_1: Tensor, keep: Keep | None, both: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        lse_R = a_RE.new_empty(len(a_RE))
        best_R = torch.empty_like(lse_R, dtype=torch.int64)
        lse_C = a_RE.new_full((len(b_CE) if both else 0,), -torch.inf)
        top_C = lse_C.clone()
        best_C = torch.zeros_like(lse_C, dtype=torch.int64)
        with torch.autocast(a_RE.device.type, enabled=False):
            for rows in _row_blocks(len(a_RE), len(b_CE)):
                logits = _masked(scale_1 * (a_RE[rows] @ b_CE.T), keep, rows)
                lse_R[rows], best_R[rows] = logits.logsumexp(1), logits.argmax(1)
                if both:
                    lse_C = torch.logaddexp(lse_C, logits.logsumexp(0))
                    block_top_C, block_best_C = logits.max(0)
                    best_C = torch.where(block_top_C > top_C, block_best_C + rows.start, best_C)
                    top_C = torch.maximum(top_C, block_top_C)
        ctx.save_for_backward(a_RE, b_CE, scale_1, lse_R, lse_C)
        ctx.keep, ctx.both = keep, both
        ctx.mark_non_differentiable(best_R, best_C)
        return lse_R, lse_C, best_R, best_C

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_R, grad_C = grads[0], grads[1]
        a_RE, b_CE, scale_1, lse_R, lse_C = ctx.saved_tensors
        grad_a, grad_b = torch.empty_like(a_RE), torch.zeros_like(b_CE)
        with torch.autocast(a_RE.device.type, enabled=False):
            for rows in _row_blocks(len(a_RE), len(b_CE)):
                logits = _masked(scale_1 * (a_RE[rows] @ b_CE.T), ctx.keep, rows)
                slope = (logits - lse_R[rows, None]).exp_().mul_(grad_R[rows, None])
                if ctx.both:
                    slope += logits.sub_(lse_C).exp_().mul_(grad_C)
                grad_a[rows] = slope @ b_CE
                grad_b += slope.T @ a_RE[rows]
        # sum over all pairs of slope * cosine, without holding the cosines
        grad_scale = (grad_a * a_RE).sum().reshape(scale_1.shape)
        return grad_a.mul_(scale_1), grad_b.mul_(scale_1), grad_scale, None, None


class _SigmoidPairs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a_RE: Tensor, b_RE: Tensor, scale_1: Tensor, bias_1: Tensor, keep: Keep | None
    ) -> tuple[Tensor, Tensor]:
        loss = a_RE.new_zeros(())
        best_R = torch.empty(len(a_RE), dtype=torch.int64, device=a_RE.device)
        with torch.autocast(a_RE.device.type, enabled=False):
            for rows in _row_blocks(len(a_RE), len(b_RE)):
                logits = _masked(scale_1 * (a_RE[rows] @ b_RE.T) + bias_1, keep, rows)
                best_R[rows] = logits.argmax(1)
                # -log sigmoid(-z) = softplus(z), and the positives' z changes its sign
                logits.diagonal(rows.start).neg_()
                loss += F.softplus(logits).sum()
        ctx.save_for_backward(a_RE, b_RE, scale_1, bias_1)
        ctx.keep = keep
        ctx.mark_non_differentiable(best_R)
        return loss, best_R

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        a_RE, b_RE, scale_1, bias_1 = ctx.saved_tensors
        grad_a, grad_b, grad_bias = torch.empty_like(a_RE), torch.zeros_like(b_RE), torch.zeros_like(bias_1)
        with torch.autocast(a_RE.device.type, enabled=False):
            for rows in _row_blocks(len(a_RE), len(b_RE)):
                logits = _masked(scale_1 * (a_RE[rows] @ b_RE.T) + bias_1, ctx.keep, rows)
                logits.diagonal(rows.start).neg_()
                slope = logits.sigmoid_()
                slope.diagonal(rows.start).neg_()
                slope *= grads[0]
                grad_a[rows] = slope @ b_RE
                grad_b += slope.T @ a_RE[rows]
                grad_bias += slope.sum()
        grad_scale = (grad_a * a_RE).sum().reshape(scale_1.shape)
        return grad_a.mul_(scale_1), grad_b.mul_(scale_1), grad_scale, grad_bias, None
