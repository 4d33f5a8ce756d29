"""What this package brings: the modality ``beats``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spectranet import Modality, hookimpl, lazy, option


@dataclass
class BeatsConfig:
    width: int = option(16, "width of the encoder")
    layers: int = option(2, "number of blocks")
    longest: int = option(12, "tokens of the longest series; longer ones are cropped")


BEATS = Modality(
    name="beats",
    config=BeatsConfig,
    fields=("beats",),
    decode=lazy("spectranet_beats.series:decode"),
    build_transform=lazy("spectranet_beats.series:build_transform"),
    collate=lazy("spectranet_beats.series:collate"),
    sample_mask=lazy("spectranet_beats.series:sample_mask"),
    build_encoder=lazy("spectranet_beats.encoder:build_encoder"),
    build_target_head=lazy("spectranet_beats.encoder:build_target_head"),
    shard_units=lazy("spectranet_beats.encoder:shard_units"),
    flops=lazy("spectranet_beats.encoder:flops"),
    example=lazy("spectranet_beats.series:example"),
    fingerprint=lazy("spectranet_beats.series:fingerprint"),
    largest=lazy("spectranet_beats.series:largest"),
    mask_ratio=0.25,
    temporal=True,
)


@hookimpl
def spectranet_modalities() -> Iterable[Modality]:
    return [BEATS]
