"""Images and video keep the contract: clauses of the core's conformance kit."""

from __future__ import annotations

from typing import ClassVar

import pytest

from spectranet.testing import ModalityConformance

two_ranks = pytest.mark.slow(ModalityConformance.test_two_ranks_equal_one)

VIT = {"image_size": 32, "patch_size": 8, "width": 48, "layers": 2, "heads": 4, "mlp_hidden": 96}


class TestImage(ModalityConformance):
    plugin, name = "vision", "image"
    options: ClassVar = {"size": 32, "patch_size": 8}
    trunk_options = VIT
    fp32_within = 1e-5
    test_two_ranks_equal_one = two_ranks


class TestVideo(ModalityConformance):
    plugin, name = "vision", "video"
    options: ClassVar = {"size": 32, "patch_size": 8, "frames": 4, "tubelet": 2}
    trunk_options = VIT
    trunk_unused = tuple(f"vit.embeddings.patch_embeddings.projection.{name}" for name in ("weight", "bias"))
    mask_step = 2  # a tube has both time steps
    fp32_within = 1e-5
    test_two_ranks_equal_one = two_ranks
