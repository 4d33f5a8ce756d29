"""What can be set for images, video and the ViT they share."""

from __future__ import annotations

from dataclasses import dataclass

from spectranet import option

__all__ = ["NORMALISATIONS", "POOLS", "ImageConfig", "VideoConfig", "VitConfig"]

NORMALISATIONS = ("imagenet", "half")
"""``half``: mean and standard deviation 0.5, as Google's ViT checkpoints expect."""
POOLS = ("mean", "class")


@dataclass
class VitConfig:
    """The defaults are those of ViT-B/16 (Dosovitskiy et al. 2021)."""

    image_size: int = option(224, "side in pixels that the position grid is made for; others interpolate")
    patch_size: int = option(16, "side of a patch in pixels")
    width: int = option(768, "width of the tokens")
    layers: int = option(12, "number of blocks")
    heads: int = option(12, "attention heads")
    mlp_hidden: int = option(3072, "hidden width of the MLP")
    pretrained: str = option("", "folder that transformers' save_pretrained wrote for a ViT; empty: random")


@dataclass
class ImageConfig:
    size: int = option(224, "side in pixels of the square that the model sees")
    patch_size: int = option(16, "side of a patch in pixels; the trunk's")
    crop_scale_min: float = option(0.5, "training crops cover at least this share of the image's area")
    crop_aspect_max: float = option(4 / 3, "training crops are stretched by at most this; 1: never")
    flip: bool = option(False, "mirror half of the training images; wrong where captions name sides")
    normalisation: str = option("imagenet", "mean and deviation of the pixels: imagenet or half")
    pool: str = option("mean", "one vector an image: mean of the visible patches, or class token")


@dataclass
class VideoConfig:
    size: int = option(224, "side in pixels of the square that the model sees")
    patch_size: int = option(16, "side of a patch in pixels; the trunk's")
    frames: int = option(16, "frames taken from a clip")
    tubelet: int = option(2, "frames that one token covers")
    span_s: float | None = option(None, "seconds that the frames spread over; null: the whole clip")
    crop_scale_min: float = option(0.5, "training crops cover at least this share of the frame's area")
    crop_aspect_max: float = option(4 / 3, "training crops are stretched by at most this; 1: never")
    flip: bool = option(False, "mirror half of the training clips; wrong where captions name sides")
    normalisation: str = option("imagenet", "mean and deviation of the pixels: imagenet or half")
    pool: str = option("mean", "one vector a clip: mean of the visible tubelets, or class token")
