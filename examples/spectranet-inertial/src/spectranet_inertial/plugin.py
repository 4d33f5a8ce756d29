"""What this package brings to SpectraNet.

Listing plugins reads this file, so it imports no torch: an address is imported when it is first called.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spectranet import Modality, hookimpl, lazy
from spectranet_inertial.config import InertialConfig, problems

__all__ = ["INERTIAL", "spectranet_check_config", "spectranet_modalities"]

INERTIAL = Modality(
    name="inertial",
    config=InertialConfig,
    # The columns of manifests and the endings of files that it reads, the preferred one first.
    fields=("inertial", "inertial.npy", "inertial.csv", "npy", "csv"),
    # From bytes to arrays, and to what masked modelling hides.
    decode=lazy("spectranet_inertial.signal:decode"),
    build_transform=lazy("spectranet_inertial.signal:build_transform"),
    collate=lazy("spectranet_inertial.signal:collate"),
    sample_mask=lazy("spectranet_inertial.signal:sample_mask"),
    mask_ratio=0.5,
    # From arrays to tokens.
    build_encoder=lazy("spectranet_inertial.encoder:build_encoder"),
    shard_units=lazy("spectranet_inertial.encoder:shard_units"),
    flops=lazy("spectranet_inertial.encoder:flops"),
    # What the decoder is to say of a hidden token.
    build_target_head=lazy("spectranet_inertial.target:build_target_head"),
    # For tests, curation, `spectranet data inspect` and `spectranet plan`.
    example=lazy("spectranet_inertial.signal:example"),
    fingerprint=lazy("spectranet_inertial.signal:fingerprint"),
    describe=lazy("spectranet_inertial.signal:describe"),
    largest=lazy("spectranet_inertial.signal:largest"),
    # It has a time axis: False where tokens have no order in time, as those of pictures.
    temporal=True,
)


@hookimpl
def spectranet_modalities() -> Iterable[Modality]:
    return [INERTIAL]


@hookimpl
def spectranet_check_config(config: Any) -> Iterable[str]:
    inertial = config.modalities.get("inertial")
    return [] if inertial is None else list(problems(inertial))
