"""What masked modelling predicts of a hidden frame: its log-mel spectrum, by L1.

Shape suffixes: B samples, H hidden frames, D width, M mel bins.
"""

from __future__ import annotations

from torch import Tensor, nn

from spectranet import Loss, ModalityBatch, gather_tokens, init_linear
from spectranet_audio.config import AudioConfig

__all__ = ["MelHead", "build_target_head"]


class MelHead(nn.Module):
    """One linear layer from a decoder state to the bands of its frame."""

    def __init__(self, width: int, bins: int) -> None:
        super().__init__()
        self.predict = nn.Linear(width, bins)

    def forward(self, states_BHD: Tensor, batch: ModalityBatch) -> Loss:
        """Mean absolute error over the bands, summed over the valid hidden frames, in fp32."""
        target_BHM = gather_tokens(batch.data["mel"], batch.hidden_BH).float()
        error_BH = (self.predict(states_BHD).float() - target_BHM).abs().mean(-1)
        valid_BH = batch.hidden_valid_BH
        return Loss(sum=(error_BH * valid_BH).sum(), weight=valid_BH.sum())

    def flops(self, hidden: int) -> int:
        """Forward, of so many hidden frames."""
        return 2 * hidden * self.predict.in_features * self.predict.out_features

    def init_weights(self) -> None:
        init_linear(self)


def build_target_head(config: AudioConfig, width: int) -> MelHead:
    return MelHead(width, config.mel_bins)
