"""Images and video keep the contract: clauses of the core's conformance kit."""

from __future__ import annotations

from spectranet.testing import ModalityConformance

VIT = {"image_size": 32, "patch_size": 8, "width": 48, "layers": 2, "heads": 4, "mlp_hidden": 96}


class TestImage(ModalityConformance):
    plugin, name = "vision", "image"
    options = {"size": 32, "patch_size": 8}
    trunk_options = VIT


class TestVideo(ModalityConformance):
    plugin, name = "vision", "video"
    options = {"size": 32, "patch_size": 8, "frames": 4, "tubelet": 2}
    trunk_options = VIT
    trunk_unused = tuple(f"vit.embeddings.patch_embeddings.projection.{name}" for name in ("weight", "bias"))
    mask_step = 2  # a tube has both time steps
