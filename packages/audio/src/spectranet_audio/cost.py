"""Forward FLOPs of the encoder, a multiplication and an addition counting as two."""

from __future__ import annotations

from spectranet_audio.config import AudioConfig, conv_channels
from spectranet_audio.frames import HOP, KERNELS, STRIDES, WINDOW
from spectranet_audio.pretrained import resolve

__all__ = ["flops"]


def flops(config: AudioConfig, tokens: int, visible: int, trunk: None = None) -> int:
    """For one clip of ``tokens`` frames. Hidden frames are computed too, so ``visible`` is unused."""
    config = resolve(config)
    width, channels = config.width, conv_channels(config)
    steps, channels_in, stem = (tokens - 1) * HOP + WINDOW, 1, 0
    for kernel, stride, channels_out in zip(KERNELS, STRIDES, channels, strict=True):
        steps = (steps - kernel) // stride + 1
        stem += 2 * steps * kernel * channels_in * channels_out
        channels_in = channels_out
    projection = 2 * tokens * channels_in * width
    position = 2 * tokens * config.num_conv_pos_embeddings * width**2 // config.num_conv_pos_embedding_groups
    attention = 8 * tokens * width**2 + 4 * tokens**2 * width
    mlp = 4 * tokens * width * config.mlp_hidden
    return stem + projection + position + config.layers * (attention + mlp)
