"""What this package brings to SpectraNet. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spectranet import Modality, hookimpl, lazy
from spectranet_audio.config import AudioConfig, problems

__all__ = ["AUDIO", "spectranet_check_config", "spectranet_modalities"]

AUDIO = Modality(
    name="audio",
    config=AudioConfig,
    fields=("wav", "flac", "mp3", "ogg", "m4a", "opus", "audio", "mp4"),
    decode=lazy("spectranet_audio.decoding:decode"),
    build_transform=lazy("spectranet_audio.transform:build_transform"),
    collate=lazy("spectranet_audio.transform:collate"),
    sample_mask=lazy("spectranet_audio.masking:sample_mask"),
    build_encoder=lazy("spectranet_audio.encoder:build_encoder"),
    build_target_head=lazy("spectranet_audio.target:build_target_head"),
    shard_units=lazy("spectranet_audio.encoder:shard_units"),
    flops=lazy("spectranet_audio.cost:flops"),
    example=lazy("spectranet_audio.example:example"),
    fingerprint=lazy("spectranet_audio.fingerprint:fingerprint"),
    describe=lazy("spectranet_audio.preview:describe"),
    preview=lazy("spectranet_audio.preview:preview"),
    largest=lazy("spectranet_audio.transform:largest"),
    temporal=True,
)


@hookimpl
def spectranet_modalities() -> Iterable[Modality]:
    return [AUDIO]


@hookimpl
def spectranet_check_config(config: Any) -> Iterable[str]:
    audio = config.modalities.get("audio")
    return [] if audio is None else list(problems(audio))
