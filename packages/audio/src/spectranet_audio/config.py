"""What can be set for audio, and which settings cannot work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from spectranet import ConfigError, option
from spectranet_audio.frames import KERNELS, LONGEST_SPAN_S, SAMPLE_RATE, WINDOW
from spectranet_audio.pretrained import read_architecture

__all__ = ["AudioConfig", "conv_channels", "problems"]

MOST_MEL_BINS = 128
"""From 150 triangles on, at 40 Hz a bin, some of them have no bin at all."""


@dataclass
class AudioConfig:
    """Defaults: wav2vec2-base, with the layer-normed, biased convolutions of wav2vec2-large."""

    max_seconds: float = option(10.0, "longer clips are cropped: at random in training, else to the centre")
    width: int = option(768, "width of the encoder; with `pretrained` the folder's")
    layers: int = option(12, "transformer layers; with `pretrained` the folder's")
    heads: int = option(12, "attention heads; with `pretrained` the folder's")
    mlp_hidden: int = option(3072, "hidden width of the MLP; with `pretrained` the folder's")
    conv_dim: list[int] = option(
        [512] * 7, "channels of the seven convolutions, or one number for all; with `pretrained` the folder's"
    )
    conv_bias: bool = option(
        True,
        "biases in the convolutions; without them digital silence makes exploding gradients in a new model",
    )
    num_conv_pos_embeddings: int = option(
        128, "frames that the convolution that codes position sees; with `pretrained` the folder's"
    )
    num_conv_pos_embedding_groups: int = option(
        16, "groups of that convolution; with `pretrained` the folder's"
    )
    stable_layer_norm: bool = option(
        False, "norm before attention and MLP instead of after; with `pretrained` the folder's"
    )
    pretrained: str = option("", "local folder with a Wav2Vec2 model of transformers; empty: random weights")
    mel_bins: int = option(80, "mel bands of the log-mel frames that masked modelling predicts")
    normalise: bool = option(True, "bring every clip to zero mean and unit variance")
    gain_db: float = option(0.0, "training: loudness changes by up to this many decibels; 0: never")
    shift_ms: float = option(0.0, "training: a clip starts up to this much earlier or later; 0: never")
    noise: float = option(
        0.0, "training: white noise of up to this share of the clip's own RMS is added; 0: never"
    )


def conv_channels(config: AudioConfig) -> list[int]:
    """Channels of the seven convolutions; one number stands for all of them."""
    channels = [int(channel) for channel in config.conv_dim]
    return channels * len(KERNELS) if len(channels) == 1 else channels


def problems(config: Any) -> Iterator[str]:
    """Sentences about settings that cannot work, none if all can.

    Args:
        config: an :class:`AudioConfig`, or OmegaConf's view of one.
    """
    if config.max_seconds * SAMPLE_RATE < WINDOW:
        yield f"modalities.audio.max_seconds is {config.max_seconds}; a frame needs {WINDOW / SAMPLE_RATE} s."
    if config.max_seconds > LONGEST_SPAN_S:
        yield f"modalities.audio.max_seconds is {config.max_seconds}; at most {LONGEST_SPAN_S} s are decoded."
    if not 1 <= config.mel_bins <= MOST_MEL_BINS:
        yield f"modalities.audio.mel_bins is {config.mel_bins}; it must be in 1 to {MOST_MEL_BINS}."
    for name in ("gain_db", "shift_ms", "noise"):
        if getattr(config, name) < 0:
            yield f"modalities.audio.{name} is {getattr(config, name)}; it must not be negative."
    if config.pretrained:
        yield from _problems_of_folder(config.pretrained)
    else:
        yield from _problems_of_dimensions(config)


def _problems_of_folder(folder: str) -> Iterator[str]:
    try:
        read_architecture(folder)
    except ConfigError as error:
        yield str(error)


def _problems_of_dimensions(config: Any) -> Iterator[str]:
    sizes = ("width", "layers", "heads", "mlp_hidden")
    position = ("num_conv_pos_embeddings", "num_conv_pos_embedding_groups")
    wrong = [name for name in (*sizes, *position) if getattr(config, name) < 1]
    for name in wrong:
        yield f"modalities.audio.{name} is {getattr(config, name)}; it must be at least 1."
    if len(config.conv_dim) not in (1, len(KERNELS)) or min(config.conv_dim, default=0) < 1:
        yield (
            f"modalities.audio.conv_dim is {list(config.conv_dim)}; it must be {len(KERNELS)} positive "
            "numbers, or one for all."
        )
    for name in ("heads", "num_conv_pos_embedding_groups"):
        if name not in wrong and config.width % getattr(config, name):
            yield f"modalities.audio.{name} ({getattr(config, name)}) must divide width ({config.width})."
