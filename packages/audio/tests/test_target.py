"""The log-mel head and its loss."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from spectranet_audio.masking import sample_mask
from spectranet_audio.target import build_target_head
from spectranet_audio.transform import build_transform


def head_of(tiny, width: int = 12):
    with torch.device("meta"):
        head = build_target_head(tiny, width)
    head.to_empty(device="cpu")
    torch.manual_seed(0)
    head.init_weights()
    return head


def test_loss_is_the_mean_absolute_error_summed_over_hidden_frames(tiny, rng, batch_of) -> None:
    transform = build_transform(tiny, train=False)
    values = [transform(rng.standard_normal(n).astype(np.float32), rng) for n in (6_000, 16_000)]
    masks = [sample_mask(one, 0.3, rng) for one in values]
    batch = batch_of(values, masks)
    head = head_of(tiny)
    states_BHD = torch.randn(*batch.hidden_BH.shape, 12)
    loss = head(states_BHD, batch)
    expected, count = 0.0, 0
    for row, (one, mask) in enumerate(zip(values, masks, strict=True)):
        target = torch.from_numpy(one.data["mel"][mask])
        expected += sum(
            F.l1_loss(head.predict(states_BHD[row, place]), frame).item()
            for place, frame in enumerate(target)
        )
        count += len(target)
    assert loss.weight == count == sum(mask.sum() for mask in masks)
    assert loss.sum.item() == np.float32(expected) or abs(loss.sum.item() - expected) < 1e-4
    loss.sum.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.parameters())


def test_loss_is_taken_in_fp32(tiny, rng, batch_of) -> None:
    values = build_transform(tiny, train=False)(rng.standard_normal(16_000).astype(np.float32), rng)
    batch = batch_of([values], [sample_mask(values, 0.3, rng)])
    head = head_of(tiny).bfloat16()
    loss = head(torch.randn(*batch.hidden_BH.shape, 12, dtype=torch.bfloat16), batch)
    assert loss.sum.dtype == torch.float32
