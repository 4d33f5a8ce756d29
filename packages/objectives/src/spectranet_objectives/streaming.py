"""Losses over all pairs of two sets of vectors, in memory that grows with their number, not its square.

The similarities are made tile by tile, reduced and dropped; the backward makes each tile once more.
Both directions (rows over columns, columns over rows) are reduced from the same tile. Row i and
column i are a positive pair; there may be more columns than rows.

Everything is computed in fp32, or in float64 where the inputs are; autocast is switched off.
Shape suffixes: R rows, C columns, L lines of either kind, E width; ``scale_1`` and ``bias_1`` have one
element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["Keep", "Reduced", "at_least_fp32", "reduce_both_ways", "reduce_rows", "sigmoid_pair_loss"]

Keep = Callable[[slice, slice], Tensor]
"""Which pairs count: given slices of the rows and the columns, a bool tensor that broadcasts to the
tile. Positive pairs always do. None: all pairs."""

_CPU_TILE = (512, 1024)
"""Rows and columns of a tile: 2 MiB in fp32, about what a core's cache holds through ten passes over it."""

_ACCELERATOR_TILE = (4096, 4096)
"""64 MiB in fp32, so that a tile's arithmetic outweighs launching its kernels."""


class Reduced(NamedTuple):
    """Of each row and column the log-sum-exp of its logits, and whether its positive is above all others."""

    lse_R: Tensor
    lse_C: Tensor
    positive_R: Tensor
    right_R: Tensor
    right_C: Tensor


def reduce_both_ways(a_RE: Tensor, b_RE: Tensor, scale_1: Tensor, keep: Keep | None = None) -> Reduced:
    """Reduce ``scale * a @ b.T`` over its columns and over its rows."""
    return Reduced(*_LogSumExp.apply(*_in_full(a_RE, b_RE, scale_1), keep, True))


def reduce_rows(a_RE: Tensor, b_CE: Tensor, scale_1: Tensor, keep: Keep | None = None) -> Reduced:
    """As :func:`reduce_both_ways`, each row over its columns only: nothing is said of the columns."""
    return Reduced(*_LogSumExp.apply(*_in_full(a_RE, b_CE, scale_1), keep, False))


def sigmoid_pair_loss(
    a_RE: Tensor, b_RE: Tensor, scale_1: Tensor, bias_1: Tensor, keep: Keep | None = None
) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy of every pair, the diagonal being the positives, summed: (sum, right_R).

    Zhai et al. 2023, "Sigmoid loss for language image pre-training", equation 1 before the division.
    """
    loss, right_R = _SigmoidPairs.apply(*_in_full(a_RE, b_RE, scale_1, bias_1), keep)
    return loss, right_R


def at_least_fp32(tensor: Tensor) -> Tensor:
    """In fp32, or in float64 where it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _in_full(*tensors: Tensor) -> list[Tensor]:
    return [at_least_fp32(tensor) for tensor in tensors]


def _tiles(
    a_RE: Tensor, b_CE: Tensor, scale_1: Tensor, keep: Keep | None
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Rows, columns and logits of each tile; logits of dropped pairs are -inf."""
    height, width = _CPU_TILE if a_RE.device.type == "cpu" else _ACCELERATOR_TILE
    for top in range(0, len(a_RE), height):
        rows = slice(top, min(top + height, len(a_RE)))
        scaled = scale_1 * a_RE[rows]
        for left in range(0, len(b_CE), width):
            columns = slice(left, min(left + width, len(b_CE)))
            logits = scaled @ b_CE[columns].T
            yield (
                rows,
                columns,
                logits if keep is None else logits.masked_fill_(~keep(rows, columns), -torch.inf),
            )


def _positives(rows: slice, columns: slice, tile: Tensor) -> tuple[slice, Tensor]:
    """The indices that are rows and columns of this tile, and a view of the positives there."""
    both = slice(max(rows.start, columns.start), min(rows.stop, columns.stop))
    if both.start >= both.stop:
        return slice(0, 0), tile.new_empty(0)
    return both, tile[both.start - rows.start :, both.start - columns.start :].diagonal()


class _Lines:
    """What is known of each row, or of each column, after the tiles so far."""

    def __init__(self, count: int, like: Tensor) -> None:
        self.top_L = like.new_full((count,), torch.finfo(like.dtype).min)
        self.sum_L = like.new_zeros(count)
        self.rival_L = like.new_full((count,), -torch.inf)

    def add(self, lines: slice, logits: Tensor, rival: Tensor, across: int) -> None:
        """Take in a tile; ``rival`` is its largest logit but for the positives."""
        self.rival_L[lines] = torch.maximum(self.rival_L[lines], rival)
        before = self.top_L[lines]
        top = torch.maximum(before, logits.amax(across))
        new = (logits - top.unsqueeze(across)).exp_().sum(across)
        self.sum_L[lines] = self.sum_L[lines] * (before - top).exp() + new
        self.top_L[lines] = top

    def log_sum_exp(self) -> Tensor:
        return self.sum_L.log() + self.top_L


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a_RE: Tensor, b_CE: Tensor, scale_1: Tensor, keep: Keep | None, both: bool
    ) -> tuple[Tensor, ...]:
        by_row, by_column = _Lines(len(a_RE), a_RE), _Lines(len(b_CE) if both else 0, a_RE)
        own_R = a_RE.new_empty(len(a_RE))
        with torch.autocast(a_RE.device.type, enabled=False):
            for rows, columns, logits in _tiles(a_RE, b_CE, scale_1, keep):
                these, positives = _positives(rows, columns, logits)
                own = own_R[these] = positives.clone()
                positives.fill_(-torch.inf)
                rivals = logits.amax(1), logits.amax(0) if both else None
                positives.copy_(own)
                by_row.add(rows, logits, rivals[0], across=1)
                if both:
                    by_column.add(columns, logits, rivals[1], across=0)
        lse_R, lse_C = by_row.log_sum_exp(), by_column.log_sum_exp()
        right_R, right_C = own_R > by_row.rival_L, own_R[: len(lse_C)] > by_column.rival_L
        # apart, since top + log(sum) would round away what a near-certain pair still has to learn
        lines = by_row.top_L, by_row.sum_L, by_column.top_L, by_column.sum_L
        ctx.save_for_backward(a_RE, b_CE, scale_1, *lines)
        ctx.keep, ctx.both = keep, both
        ctx.mark_non_differentiable(right_R, right_C)
        return lse_R, lse_C, own_R, right_R, right_C

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_R: Tensor, grad_C: Tensor, grad_own_R: Tensor, *_: Tensor
    ) -> tuple[Tensor | None, ...]:
        a_RE, b_CE, scale_1, top_R, sum_R, top_C, sum_C = ctx.saved_tensors
        grad_R, grad_C = grad_R / sum_R, grad_C / sum_C
        grad_a, grad_b = torch.zeros_like(a_RE), torch.zeros_like(b_CE)
        with torch.autocast(a_RE.device.type, enabled=False):
            for rows, columns, logits in _tiles(a_RE, b_CE, scale_1, ctx.keep):
                slope = (logits - top_R[rows, None]).exp_().mul_(grad_R[rows, None])
                if ctx.both:
                    slope.addcmul_(logits.sub_(top_C[columns]).exp_(), grad_C[columns])
                these, positives = _positives(rows, columns, slope)
                positives += grad_own_R[these]
                grad_a[rows].addmm_(slope, b_CE[columns])
                grad_b[columns].addmm_(slope.T, a_RE[rows])
        return *_through_scale(grad_a, grad_b, a_RE, scale_1), None, None


class _SigmoidPairs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a_RE: Tensor, b_RE: Tensor, scale_1: Tensor, bias_1: Tensor, keep: Keep | None
    ) -> tuple[Tensor, Tensor]:
        loss = a_RE.new_zeros(())
        own_R, rival_R = a_RE.new_empty(len(a_RE)), a_RE.new_full((len(a_RE),), -torch.inf)
        with torch.autocast(a_RE.device.type, enabled=False):
            for rows, columns, logits in _tiles(a_RE, b_RE, scale_1, keep):
                logits += bias_1
                these, positives = _positives(rows, columns, logits)
                own = own_R[these] = positives.clone()
                positives.fill_(-torch.inf)
                rival_R[rows] = torch.maximum(rival_R[rows], logits.amax(1))
                # -log sigmoid(-z) = softplus(z), and the positives' z changes its sign
                positives.copy_(own.neg_())
                loss += F.softplus(logits).sum()
        ctx.save_for_backward(a_RE, b_RE, scale_1, bias_1)
        ctx.keep = keep
        right_R = own_R > rival_R
        ctx.mark_non_differentiable(right_R)
        return loss, right_R

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        a_RE, b_RE, scale_1, bias_1 = ctx.saved_tensors
        grad_a, grad_b, grad_bias = torch.zeros_like(a_RE), torch.zeros_like(b_RE), torch.zeros_like(bias_1)
        with torch.autocast(a_RE.device.type, enabled=False):
            for rows, columns, logits in _tiles(a_RE, b_RE, scale_1, ctx.keep):
                logits += bias_1
                _, positives = _positives(rows, columns, logits)
                positives.neg_()
                slope = logits.sigmoid_()
                positives.neg_()
                slope *= grad
                grad_a[rows].addmm_(slope, b_RE[columns])
                grad_b[columns].addmm_(slope.T, a_RE[rows])
                grad_bias += slope.sum()
        return *_through_scale(grad_a, grad_b, a_RE, scale_1), grad_bias, None


def _through_scale(grad_a: Tensor, grad_b: Tensor, a_RE: Tensor, scale_1: Tensor) -> tuple[Tensor, ...]:
    """Gradients of a, b and the scale from those at the scaled vectors."""
    # sum over all pairs of slope * cosine, without holding the cosines, or the products of all rows
    grad_scale = torch.zeros_like(scale_1)
    for some_grad, some_a in zip(grad_a.split(1024), a_RE.split(1024), strict=True):
        grad_scale += (some_grad * some_a).sum()
    return grad_a.mul_(scale_1), grad_b.mul_(scale_1), grad_scale
