"""How many floating-point operations does one sample's way through the encoder take?"""

from __future__ import annotations

from spectranet_vision.config import ImageConfig, VideoConfig, VitConfig
from spectranet_vision.pretrained import resolve

__all__ = ["image_flops", "video_flops"]


def image_flops(config: ImageConfig, tokens: int, visible: int, trunk: VitConfig | None = None) -> int:
    """Forward FLOPs of one image, a multiply-add counted as two.

    Hidden patches cost nothing: they are dropped first, so ``tokens`` does not enter. ``trunk`` are
    the options of the ViT; without them it is taken to be ViT-B/16.
    """
    return _vit_flops(trunk, 3 * config.patch_size**2, visible)


def video_flops(config: VideoConfig, tokens: int, visible: int, trunk: VitConfig | None = None) -> int:
    """Forward FLOPs of one clip; see :func:`image_flops`."""
    return _vit_flops(trunk, 3 * config.tubelet * config.patch_size**2, visible)


def _vit_flops(trunk: VitConfig | None, components: int, visible: int) -> int:
    vit = resolve(trunk or VitConfig())
    length = visible + 1  # the class token
    projections = 8 * length * vit.width**2  # query, key, value, output
    attention = 4 * length**2 * vit.width  # scores, and values weighted by them
    mlp = 4 * length * vit.width * vit.mlp_hidden
    return 2 * visible * components * vit.width + vit.layers * (projections + attention + mlp)
