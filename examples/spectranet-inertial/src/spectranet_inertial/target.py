"""What masked modelling asks of a hidden token: its patch, by squared error.

Shape suffixes: B samples, H hidden tokens, K numbers of a token, D width of the decoder.
"""

from __future__ import annotations

from torch import Tensor, nn

from spectranet import Loss, ModalityBatch, gather_tokens, init_linear
from spectranet_inertial.config import InertialConfig

__all__ = ["PatchHead", "build_target_head"]


class PatchHead(nn.Module):
    """One linear layer from a decoder state to the numbers of its patch, as the transform normalised them."""

    def __init__(self, width: int, numbers: int) -> None:
        super().__init__()
        self.predict = nn.Linear(width, numbers)

    def forward(self, states_BHD: Tensor, batch: ModalityBatch) -> Loss:
        """The error's mean over a patch, as a sum over hidden tokens and their number.

        The core divides at the end: over all micro-batches and ranks of a step, whatever their sizes.
        """
        target_BHK = gather_tokens(batch.data["patches"], batch.hidden_BH)
        error_BH = (self.predict(states_BHD).float() - target_BHK).square().mean(-1)
        valid_BH = batch.hidden_valid_BH
        return Loss(sum=(error_BH * valid_BH).sum(), weight=valid_BH.sum())

    def init_weights(self) -> None:
        init_linear(self)

    def flops(self, hidden: int) -> int:
        """Forward, of so many hidden tokens."""
        return 2 * hidden * self.predict.in_features * self.predict.out_features


def build_target_head(config: InertialConfig, width: int) -> PatchHead:
    return PatchHead(width, config.patch * config.channels)
