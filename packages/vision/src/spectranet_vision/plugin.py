"""What spectranet-vision brings: the modalities image and video, and the ViT they share.

This module is what listings import, so it names everything that needs torch by its address.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spectranet import Modality, Trunk, hookimpl, lazy
from spectranet_vision.check import find_problems
from spectranet_vision.config import ImageConfig, VideoConfig, VitConfig

__all__ = ["IMAGE", "VIDEO", "VIT", "spectranet_check_config", "spectranet_modalities"]

VIT = Trunk("vit", VitConfig, lazy("spectranet_vision.trunk:VitTrunk"))

IMAGE = Modality(
    name="image",
    config=ImageConfig,
    fields=("jpg", "jpeg", "png", "webp", "image"),
    decode=lazy("spectranet_vision.image_decode:decode_image"),
    build_transform=lazy("spectranet_vision.image_transform:ImageTransform"),
    collate=lazy("spectranet_vision.collate:stack"),
    sample_mask=lazy("spectranet_vision.masks:random_patches"),
    build_encoder=lazy("spectranet_vision.encoders:ImageEncoder"),
    build_target_head=lazy("spectranet_vision.target:image_target"),
    shard_units=lazy("spectranet_vision.trunk:shard_units"),
    flops=lazy("spectranet_vision.flops:image_flops"),
    example=lazy("spectranet_vision.examples:jpeg_example"),
    fingerprint=lazy("spectranet_vision.fingerprint:image_fingerprint"),
    describe=lazy("spectranet_vision.preview:describe_image"),
    preview=lazy("spectranet_vision.preview:preview_image"),
    largest=lazy("spectranet_vision.image_transform:largest_image"),
    trunk=VIT,
)

VIDEO = Modality(
    name="video",
    config=VideoConfig,
    fields=("mp4", "webm", "mkv", "mov", "avi", "video"),
    decode=lazy("spectranet_vision.video_decode:decode_video"),
    build_transform=lazy("spectranet_vision.video_transform:VideoTransform"),
    collate=lazy("spectranet_vision.collate:stack"),
    sample_mask=lazy("spectranet_vision.masks:random_tubes"),
    build_encoder=lazy("spectranet_vision.encoders:VideoEncoder"),
    build_target_head=lazy("spectranet_vision.target:video_target"),
    shard_units=lazy("spectranet_vision.trunk:shard_units"),
    flops=lazy("spectranet_vision.flops:video_flops"),
    example=lazy("spectranet_vision.examples:mp4_example"),
    fingerprint=lazy("spectranet_vision.fingerprint:video_fingerprint"),
    describe=lazy("spectranet_vision.preview:describe_video"),
    preview=lazy("spectranet_vision.preview:preview_video"),
    largest=lazy("spectranet_vision.video_transform:largest_video"),
    trunk=VIT,
    temporal=True,
)


@hookimpl
def spectranet_modalities() -> Iterable[Modality]:
    return (IMAGE, VIDEO)


@hookimpl
def spectranet_check_config(config: Any) -> Iterable[str]:
    return find_problems(config)
