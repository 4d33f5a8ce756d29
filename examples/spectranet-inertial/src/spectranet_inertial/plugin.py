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
    fields=("inertial", "imu", "csv", "npy"),
    decode=lazy("spectranet_inertial.recording:decode"),
    build_transform=lazy("spectranet_inertial.signal:build_transform"),
    collate=lazy("spectranet_inertial.signal:collate"),
    sample_mask=lazy("spectranet_inertial.signal:sample_mask"),
    build_encoder=lazy("spectranet_inertial.encoder:build_encoder"),
    build_target_head=lazy("spectranet_inertial.target:build_target_head"),
    shard_units=lazy("spectranet_inertial.encoder:shard_units"),
    flops=lazy("spectranet_inertial.encoder:flops"),
    example=lazy("spectranet_inertial.samples:example"),
    fingerprint=lazy("spectranet_inertial.fingerprint:fingerprint"),
    describe=lazy("spectranet_inertial.preview:describe"),
    preview=lazy("spectranet_inertial.preview:preview"),
    largest=lazy("spectranet_inertial.signal:largest"),
    # As LIMU-BERT (Xu et al. 2021): more would leave too little for the contrast, which shares the view.
    mask_ratio=0.15,
    # Tokens stand in seconds: the next second of a movement is told from others.
    temporal=True,
)


@hookimpl
def spectranet_modalities() -> Iterable[Modality]:
    return [INERTIAL]


@hookimpl
def spectranet_check_config(config: Any) -> Iterable[str]:
    inertial = config.modalities.get("inertial")
    return [] if inertial is None else list(problems(inertial))
