"""The formula against torch's counter."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from vision_batches import IMAGE, VIDEO, VIT, batch_of, built

from spectranet_vision import plugin


@pytest.mark.parametrize(
    ("modality", "config"), [(plugin.IMAGE, IMAGE), (plugin.VIDEO, VIDEO)], ids=["image", "video"]
)
@pytest.mark.parametrize("ratio", [0.0, 0.75])
def test_the_formula_agrees_with_the_counter(modality, config, ratio):
    encoder, trunk = built(modality, config)
    batch = batch_of(modality, config, 2, ratio)
    # The CPU's fused attention is not in the counter's table; the plain one is products it knows.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        encoder(batch, trunk)
    tokens, visible = batch.position_BNP.shape[1], batch.visible_BV.shape[1]
    assert 2 * modality.flops(config, tokens, visible, VIT) == pytest.approx(
        counter.get_total_flops(), rel=0.1
    )


def test_the_default_trunk_is_vit_b_16():
    """Dosovitskiy et al. 2021 and after: 17.6 GFLOPs of multiply-adds at 224 pixels."""
    assert plugin.IMAGE.flops(plugin.ImageConfig(), 196, 196) / 2 == pytest.approx(17.5e9, rel=0.02)
