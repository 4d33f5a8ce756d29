"""What masked modelling predicts of a picture: the pixels of each hidden patch, normalised by patch.

He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners", section 3.

Shape suffixes: B samples, N tokens, H hidden tokens, D width, C components of a patch.
"""

from __future__ import annotations

from torch import Tensor, nn

from spectranet import Loss, ModalityBatch, gather_tokens, init_linear
from spectranet_vision.config import ImageConfig, VideoConfig
from spectranet_vision.patches import PatchNorm, tubelets

__all__ = ["PatchTarget", "image_target", "normalise_each", "video_target"]

_EPS = 1e-6


class PatchTarget(nn.Module):
    """A linear prediction of the normalised pixels, and its mean squared error in fp32.

    Args:
        field: where the batch has its pixels, (B, 3, S, S) or (B, T, 3, S, S).
        patch_size: side of a patch in pixels.
        depth: frames that one token covers.
        normalisation: of the colours, before each patch is normalised by itself.
        width: D of the decoder states.
    """

    def __init__(self, field: str, patch_size: int, depth: int, normalisation: str, width: int) -> None:
        super().__init__()
        self.field = field
        self.patch_size = patch_size
        self.depth = depth
        components = 3 * depth * patch_size**2
        self.norm = PatchNorm(normalisation, components)
        self.predict = nn.Linear(width, components)

    def init_weights(self) -> None:
        self.norm.init_weights()
        init_linear(self.predict)

    def flops(self, hidden: int) -> int:
        """Forward, of so many hidden patches."""
        return 2 * hidden * self.predict.in_features * self.predict.out_features

    def forward(self, states_BHD: Tensor, batch: ModalityBatch) -> Loss:
        """The loss of a patch is the mean over its components; the weight is the number of patches."""
        pixels = batch.data[self.field]
        frames_BT3SS = pixels.reshape(len(pixels), -1, *pixels.shape[-3:])
        hidden_BHC = gather_tokens(tubelets(frames_BT3SS, self.patch_size, self.depth), batch.hidden_BH)
        target_BHC = normalise_each(self.norm(hidden_BHC))
        error_BH = (self.predict(states_BHD).float() - target_BHC).square().mean(-1)
        valid_BH = batch.hidden_valid_BH
        return Loss(error_BH.masked_fill(~valid_BH, 0).sum(), valid_BH.sum())


def normalise_each(patches_BHC: Tensor) -> Tensor:
    """Each patch to mean 0 and (unbiased) variance 1, all its components together."""
    centred_BHC = patches_BHC - patches_BHC.mean(-1, keepdim=True)
    # Not var(), which warns of a division by zero where no patch at all is hidden.
    variance = centred_BHC.square().sum(-1, keepdim=True) / (patches_BHC.shape[-1] - 1)
    return centred_BHC / (variance + _EPS).sqrt()


def image_target(config: ImageConfig, width: int) -> PatchTarget:
    return PatchTarget("pixels", config.patch_size, 1, config.normalisation, width)


def video_target(config: VideoConfig, width: int) -> PatchTarget:
    return PatchTarget("frames", config.patch_size, config.tubelet, config.normalisation, width)
