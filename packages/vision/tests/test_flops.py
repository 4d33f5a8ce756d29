"""The formula against torch's counter."""

from __future__ import annotations

import pytest

from spectranet_vision import plugin


def test_the_default_trunk_is_vit_b_16():
    """Dosovitskiy et al. 2021 and after: 17.6 GFLOPs of multiply-adds at 224 pixels."""
    assert plugin.IMAGE.flops(plugin.ImageConfig(), 196, 196) / 2 == pytest.approx(17.5e9, rel=0.02)
