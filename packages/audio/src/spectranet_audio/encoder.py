"""Wav2Vec2 as an encoder of visible frames.

A hidden frame is hidden at two places: its samples are silenced before the convolutions, since
neighbouring windows overlap, and its projected frame is replaced by a learned embedding. Padded
frames are zeroed before the convolution that codes position, or they would leak into valid ones.
With nothing hidden the tokens equal ``Wav2Vec2Model(...).last_hidden_state``.

Shape suffixes: B samples, T samples of a waveform, N frames, V visible, H hidden frames, D width,
C channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2Model
from transformers.models.wav2vec2.modeling_wav2vec2 import (
    Wav2Vec2EncoderLayer,
    Wav2Vec2EncoderLayerStableLayerNorm,
)

from spectranet import ConfigError, Encoded, ModalityBatch, gather_tokens, init_transformers
from spectranet_audio.config import AudioConfig, conv_channels
from spectranet_audio.frames import KERNELS, STRIDES
from spectranet_audio.pretrained import read_architecture
from spectranet_audio.stem import convolve, silence_hidden

__all__ = ["AudioEncoder", "build_encoder", "shard_units"]

# Views are data and dropout is 0; the library's masking draws from numpy's global generator, differs
# between ranks and leaves a CPU parameter under the meta device.
_DETERMINISTIC = {
    "layerdrop": 0.0,
    "apply_spec_augment": False,
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
    "hidden_dropout": 0.0,
    "activation_dropout": 0.0,
    "attention_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "add_adapter": False,
    "attn_implementation": "sdpa",
}


def shard_units() -> tuple[type, ...]:
    return (Wav2Vec2EncoderLayer, Wav2Vec2EncoderLayerStableLayerNorm)


def build_encoder(config: AudioConfig, trunk: nn.Module | None = None) -> AudioEncoder:
    """The encoder, without weights yet; audio shares no trunk.

    Raises:
        ConfigError: ``config.pretrained`` cannot be used.
    """
    return AudioEncoder(_architecture(config), config.pretrained)


def _architecture(config: AudioConfig) -> Wav2Vec2Config:
    if config.pretrained:
        read_architecture(config.pretrained)
        return Wav2Vec2Config.from_pretrained(config.pretrained, local_files_only=True, **_DETERMINISTIC)
    return Wav2Vec2Config(
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.mlp_hidden,
        conv_dim=tuple(conv_channels(config)),
        conv_kernel=KERNELS,
        conv_stride=STRIDES,
        conv_bias=config.conv_bias,
        feat_extract_norm="layer",
        num_conv_pos_embeddings=config.num_conv_pos_embeddings,
        num_conv_pos_embedding_groups=config.num_conv_pos_embedding_groups,
        do_stable_layer_norm=config.stable_layer_norm,
        **_DETERMINISTIC,
    )


class AudioEncoder(nn.Module):
    """Visible frames of 20 ms as tokens, and their mean."""

    def __init__(self, architecture: Wav2Vec2Config, pretrained: str) -> None:
        super().__init__()
        self.width: int = architecture.hidden_size
        self.pretrained = pretrained
        self.model = Wav2Vec2Model(architecture)
        self.mask_embedding = nn.Parameter(torch.empty(self.width))

    def forward(self, batch: ModalityBatch, trunk: nn.Module | None = None) -> Encoded:
        hidden_BN = _frames_at(batch.hidden_BH, batch.hidden_valid_BH, batch.valid_BN.shape[1])
        waveform_BT = silence_hidden(batch.data["waveform"], hidden_BN).to(self.mask_embedding.dtype)
        features_BNC = convolve(self.model.feature_extractor.conv_layers, waveform_BT)
        frames_BND, _ = self.model.feature_projection(features_BNC)
        frames_BND = torch.where(hidden_BN[..., None], self.mask_embedding, frames_BND)
        tokens_BVD = gather_tokens(self._contextualise(frames_BND, batch.valid_BN), batch.visible_BV)
        return Encoded(
            tokens_BND=tokens_BVD,
            valid_BN=batch.visible_valid_BV,
            position_BNP=gather_tokens(batch.position_BNP, batch.visible_BV),
            segment_BN=gather_tokens(batch.segment_BN, batch.visible_BV),
            pooled_BD=_mean_valid(tokens_BVD, batch.visible_valid_BV),
        )

    def _contextualise(self, frames_BND: Tensor, valid_BN: Tensor) -> Tensor:
        """The transformer over all frames, as the library's encoder runs it."""
        encoder = self.model.encoder
        frames_BND = frames_BND.masked_fill(~valid_BN[..., None], 0.0)
        frames_BND = frames_BND + encoder.pos_conv_embed(frames_BND)
        attend_B1NN = valid_BN[:, None, None, :].expand(-1, -1, valid_BN.shape[1], -1)
        if self.model.config.do_stable_layer_norm:
            for layer in encoder.layers:
                frames_BND = layer(frames_BND, attention_mask=attend_B1NN)
            return encoder.layer_norm(frames_BND)
        frames_BND = encoder.layer_norm(frames_BND)
        for layer in encoder.layers:
            frames_BND = layer(frames_BND, attention_mask=attend_B1NN)
        return frames_BND

    def init_weights(self) -> None:
        """Random weights by the library's rules, or those of the pretrained folder.

        Raises:
            ConfigError: the folder lacks weights.
        """
        nn.init.uniform_(self.mask_embedding)
        if self.pretrained:
            self._load(self.pretrained)
        else:
            init_transformers(self.model)
            _init_position_conv(self.model.encoder.pos_conv_embed.conv)

    def _load(self, folder: str) -> None:
        try:
            source, report = Wav2Vec2Model.from_pretrained(
                folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
            )
        except OSError as error:
            raise ConfigError(f"modalities.audio.pretrained ({folder}) cannot be loaded: {error}") from error
        weights = source.state_dict()
        own = self.model.state_dict().keys()
        missing = set(report["missing_keys"])
        if lacking := sorted(missing & set(own)):
            raise ConfigError(
                f"modalities.audio.pretrained ({folder}) lacks {len(lacking)} weights: {lacking[0]}, …"
            )
        self.model.load_state_dict({name: weights[name] for name in own})
        if "masked_spec_embed" in weights and "masked_spec_embed" not in missing:
            self.mask_embedding.copy_(weights["masked_spec_embed"])


def _init_position_conv(conv: nn.Conv1d) -> None:
    """N(0, 4 / (kernel * width)), as wav2vec 2.0 and as the library means it.

    The library's rule writes into the weight that the weight norm computes, which has no effect:
    after ``to_empty`` direction and length would keep whatever was in memory.
    """
    norm = conv.parametrizations.weight
    length_11K, direction = norm.original0, norm.original1
    nn.init.normal_(direction, std=2 / math.sqrt(conv.kernel_size[0] * conv.in_channels))
    length_11K.copy_(direction.norm(dim=(0, 1), keepdim=True))
    nn.init.zeros_(conv.bias)


def _frames_at(index_BH: Tensor, valid_BH: Tensor, frames: int) -> Tensor:
    """Bool (B, N), True at the valid indices. Padding is sent to a column that is cut off."""
    marks = torch.zeros(index_BH.shape[0], frames + 1, dtype=torch.bool, device=index_BH.device)
    return marks.scatter(1, index_BH.masked_fill(~valid_BH, frames), True)[:, :frames]


def _mean_valid(tokens_BVD: Tensor, valid_BV: Tensor) -> Tensor:
    """Mean of the valid tokens of each sample, (B, D), summed in fp32."""
    weight_BV1 = valid_BV[..., None].float()
    mean_BD = (tokens_BVD.float() * weight_BV1).sum(1) / weight_BV1.sum(1).clamp_min(1)
    return mean_BD.to(tokens_BVD.dtype)
