"""What the contract asks of a target head: a loss of the hidden tokens as a sum and a weight."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from spectranet.contracts import Loss, ModalityBatch
from spectranet.testing.clause import clause, require
from spectranet.testing.modality.case import ModalityCase
from spectranet.testing.modality.tower import DECODER_WIDTH, Tower, fixed_normal

__all__ = ["TargetClauses"]


class TargetClauses(ModalityCase):
    """Of what masked modelling predicts."""

    @clause
    def test_target_loss_is_sum_and_weight(self) -> None:
        """The target head gives a ``Loss``: a finite scalar sum in fp32 at least, also where its parameters
        and the states are bfloat16, and as weight the number of valid hidden tokens.

        Given a ragged batch in each of the two types. Compute the error of ``self.out(states).float()``, of
        each token the mean over its components, set it to 0 with ``masked_fill(~hidden_valid_BH, 0)``, and
        sum; the weight is ``hidden_valid_BH.sum()``. The core divides, so a mean here would be divided twice.
        """
        batch, tower = self.batch(), self.new_tower()
        hidden = int(batch.hidden_valid_BH.sum())
        states_BHD = fixed_normal(*batch.hidden_BH.shape, DECODER_WIDTH)
        for dtype in (torch.float32, torch.bfloat16):
            loss = tower.head.to(dtype)(states_BHD.to(dtype), batch)
            require(isinstance(loss, Loss), f"forward gave {type(loss).__name__}, not Loss")
            kind = f"{loss.sum.dtype} {tuple(loss.sum.shape)}"
            found = f"with states in {dtype} the sum is {kind}: {loss.sum.tolist()}"
            require(loss.sum.ndim == 0 and loss.sum.isfinite(), found)
            require(loss.sum.dtype in (torch.float32, torch.float64), found)
            require(
                float(loss.weight) == hidden, f"the weight is {float(loss.weight)} of {hidden} hidden tokens"
            )

    @clause
    def test_target_ignores_padding(self) -> None:
        """The sum over a batch is that over its samples one by one, and states at padded places of hidden
        tokens count nothing.

        States of 50 stand at padded places once, and each sample is taken alone once. Where the error is
        normalised (over a patch, say), do so within the token, not over the batch; mask before the sum.
        """
        batch, tower = self.batch(), self.tower()
        states_BHD = fixed_normal(*batch.hidden_BH.shape, DECODER_WIDTH)
        wild_BHD = states_BHD.masked_fill(~batch.hidden_valid_BH[..., None], 50.0)
        with torch.no_grad():
            whole, wild = (float(tower.head(states, batch).sum) for states in (states_BHD, wild_BHD))
            parts = 0.0
            for row, view in enumerate(self.views()):
                hidden = int(view.hidden_N.sum())
                parts += float(tower.head(states_BHD[row : row + 1, :hidden], self.batch([view])).sum)
        allowed = self.fp32_within * max(abs(whole), 1e-6)
        require(abs(whole - wild) <= allowed, f"other states at padding make {wild:.6g} of {whole:.6g}")
        require(abs(whole - parts) <= allowed, f"a batch has {whole:.6g}, its samples alone have {parts:.6g}")

    @clause
    def test_target_of_nothing_is_zero(self) -> None:
        """Where nothing is hidden the head gives 0 with weight 0, and a gradient can be asked for.

        Given a batch without a hidden token, states (B, 0, D). The gradient must then be 0 and finite: a sum
        over no tokens is, a mean over none is NaN. ``torch.zeros(())`` as the sum has no gradient, and a
        rank that returned it would leave the others waiting.
        """
        tower = self.new_tower()
        views = [replace(view, hidden_N=np.zeros_like(view.hidden_N)) for view in self.views()]
        batch = self.batch(views)
        loss = tower.target_loss(batch)
        total, weight = loss.sum.item(), float(loss.weight)
        require(total == 0 and weight == 0, f"the sum is {total}, the weight {weight}")
        require(loss.sum.requires_grad, "the sum has no gradient")
        loss.sum.backward()
        wrong = [n for n, p in tower.head.named_parameters() if p.grad is not None and p.grad.any()]
        require(not wrong, f"the gradient at {', '.join(wrong)} is not zero or not finite")

    @clause
    def test_target_flops_are_declared(self) -> None:
        """``flops(hidden tokens)``, where the head has it, is within 10 % of its matrix products, a
        multiplication and an addition counting as two.

        Counted by torch's ``FlopCounterMode`` on the sample with the most hidden tokens. A head of one linear
        layer has ``2 * hidden * in_features * out_features``; without ``flops`` it is left out of MFU.
        """
        tower = self.tower()
        self.only_where(hasattr(tower.head, "flops"), "the target head declares no flops")
        # One sample, so that nothing is padding.
        whole = self.batch([max(self.views(), key=lambda view: int(view.hidden_N.sum()))])
        declared = float(tower.head.flops(whole.hidden_BH.numel()))  # type: ignore[operator]
        counted = _counted(tower, whole)
        found = (
            f"{whole.hidden_BH.numel()} hidden tokens: {declared:,.0f} are declared, {counted:,.0f} counted"
        )
        require(abs(declared - counted) <= self.flops_within * counted, found)


def _counted(tower: Tower, batch: ModalityBatch) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        tower.target_loss(batch)
    return int(counter.get_total_flops())
