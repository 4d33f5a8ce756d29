"""Small configurations and batches that several tests of this package need."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from spectranet import Modality, ModalityBatch
from spectranet_vision.config import ImageConfig, VideoConfig, VitConfig

VIT = VitConfig(image_size=32, patch_size=8, width=48, layers=2, heads=4, mlp_hidden=96)
IMAGE = ImageConfig(size=32, patch_size=8)
VIDEO = VideoConfig(size=32, patch_size=8, frames=4, tubelet=2)


def initialised(module: nn.Module, seed: int = 0) -> nn.Module:
    """Life of a module in the core: from the meta device to memory full of rubbish to weights."""
    assert all(p.is_meta for p in (*module.parameters(), *module.buffers()))
    module.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.fill_(float("nan"))
        torch.manual_seed(seed)
        module.init_weights()
    assert not any(t.isnan().any() for t in (*module.parameters(), *module.buffers()))
    return module


def built(modality: Modality, config: object, vit: VitConfig = VIT) -> tuple[nn.Module, nn.Module]:
    """Encoder and trunk of a modality, initialised."""
    with torch.device("meta"):
        trunk = modality.trunk.build(vit)
        encoder = modality.build_encoder(config, trunk)
    return initialised(encoder, 1), initialised(trunk, 2)


def batch_of(modality: Modality, config: object, count: int, ratio: float, seed: int = 0) -> ModalityBatch:
    """``count`` examples of a modality, transformed, masked and collated as the core does it."""
    rng = np.random.default_rng(seed)
    transform = modality.build_transform(config, True)
    values = [transform(modality.decode(modality.example(rng)), rng) for _ in range(count)]
    masks = np.stack([modality.sample_mask(v, ratio, rng) for v in values])
    index = [(np.flatnonzero(~row), np.flatnonzero(row)) for row in masks]
    visible = torch.from_numpy(np.stack([v for v, _ in index]))
    hidden = torch.from_numpy(np.stack([h for _, h in index]))
    return ModalityBatch(
        data=modality.collate([v.data for v in values]),
        position_BNP=torch.from_numpy(np.stack([v.position_NP for v in values])),
        segment_BN=torch.from_numpy(np.stack([v.segment_N for v in values])),
        valid_BN=torch.ones(masks.shape, dtype=torch.bool),
        visible_BV=visible,
        visible_valid_BV=torch.ones(visible.shape, dtype=torch.bool),
        hidden_BH=hidden,
        hidden_valid_BH=torch.ones(hidden.shape, dtype=torch.bool),
        content_B=torch.arange(count),
    )
