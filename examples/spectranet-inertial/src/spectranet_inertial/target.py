"""What masked modelling predicts of a hidden patch: its six channels over time, by smooth L1.

Squared below 1 and linear above, in units of gravity and of 2 rad/s: a step's impact of several g would
otherwise outweigh everything else in a batch.

Shape suffixes: B samples, H hidden patches, D width, M numbers of a patch (steps times channels).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from spectranet import Loss, ModalityBatch, gather_tokens, init_linear
from spectranet_inertial.config import InertialConfig, patch_steps
from spectranet_inertial.recording import CHANNELS

__all__ = ["PatchHead", "build_target_head"]


class PatchHead(nn.Module):
    """One linear layer from a decoder state to the numbers of its patch."""

    def __init__(self, width: int, numbers: int) -> None:
        super().__init__()
        self.predict = nn.Linear(width, numbers)

    def forward(self, states_BHD: Tensor, batch: ModalityBatch) -> Loss:
        """Mean over the numbers of a patch, summed over the valid hidden patches, in fp32."""
        target_BHM = gather_tokens(batch.data["patches"], batch.hidden_BH).flatten(2).float()
        predicted_BHM = self.predict(states_BHD).float()
        error_BH = F.smooth_l1_loss(predicted_BHM, target_BHM, reduction="none").mean(-1)
        valid_BH = batch.hidden_valid_BH
        return Loss(sum=error_BH.masked_fill(~valid_BH, 0.0).sum(), weight=valid_BH.sum())

    def flops(self, hidden: int) -> int:
        """Forward, of so many hidden patches."""
        return 2 * hidden * self.predict.in_features * self.predict.out_features

    def init_weights(self) -> None:
        init_linear(self)


def build_target_head(config: InertialConfig, width: int) -> PatchHead:
    return PatchHead(width, patch_steps(config) * len(CHANNELS))
