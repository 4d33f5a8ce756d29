"""What a folder that ``transformers`` saved says of its Wav2Vec2 model, read without torch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectranet import ConfigError
from spectranet_audio.frames import KERNELS, STRIDES

if TYPE_CHECKING:
    from spectranet_audio.config import AudioConfig

__all__ = ["read_architecture", "resolve"]

# name in config.json -> (our option, transformers' default: config.json leaves out what equals it)
_OPTIONS: dict[str, tuple[str, Any]] = {
    "hidden_size": ("width", 768),
    "num_hidden_layers": ("layers", 12),
    "num_attention_heads": ("heads", 12),
    "intermediate_size": ("mlp_hidden", 3072),
    "conv_dim": ("conv_dim", [512] * 7),
    "conv_bias": ("conv_bias", False),
    "num_conv_pos_embeddings": ("num_conv_pos_embeddings", 128),
    "num_conv_pos_embedding_groups": ("num_conv_pos_embedding_groups", 16),
    "do_stable_layer_norm": ("stable_layer_norm", False),
}


def read_architecture(folder: str) -> dict[str, Any]:
    """The options of :class:`AudioConfig` that a saved model fixes.

    Raises:
        ConfigError: no such folder, not a Wav2Vec2 model, or one that this encoder cannot run.
    """
    path = Path(folder) / "config.json"
    name = f"modalities.audio.pretrained ({folder})"
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{name} is not a folder with a config.json: {error.strerror}. It takes a local folder, "
            "as written by transformers' save_pretrained; nothing is downloaded."
        ) from error
    except ValueError as error:
        raise ConfigError(f"{name} has a config.json that is no JSON: {error}.") from error
    if saved.get("model_type") != "wav2vec2":
        raise ConfigError(f"{name} holds a model of type {saved.get('model_type')!r}, not 'wav2vec2'.")
    if saved.get("feat_extract_norm", "group") != "layer":
        raise ConfigError(
            f"{name} has feat_extract_norm 'group': it normalises the first convolution over the whole "
            "padded clip, so a sample's tokens would depend on the others in its batch. Take a model with "
            "feat_extract_norm 'layer', such as wav2vec2-large-lv60 or XLS-R."
        )
    kernels, strides = saved.get("conv_kernel", KERNELS), saved.get("conv_stride", STRIDES)
    if tuple(kernels) != KERNELS or tuple(strides) != STRIDES:
        raise ConfigError(
            f"{name} has convolutions of kernels {kernels} and strides {strides}; only {KERNELS} and "
            f"{STRIDES} give the 20 ms frames that the log-mel targets are aligned with."
        )
    return {ours: saved.get(theirs, default) for theirs, (ours, default) in _OPTIONS.items()}


def resolve(config: AudioConfig) -> AudioConfig:
    """The config with the dimensions that the model will really have.

    Raises:
        ConfigError: ``config.pretrained`` cannot be used.
    """
    return replace(config, **read_architecture(config.pretrained)) if config.pretrained else config
