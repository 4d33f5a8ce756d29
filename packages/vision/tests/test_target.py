"""What the target head promises: the patches and the loss of transformers' ViTMAE."""

from __future__ import annotations

import pytest
import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining
from vision_batches import IMAGE, VIDEO, batch_of, initialised

from spectranet import gather_tokens
from spectranet_vision import plugin
from spectranet_vision.patches import PatchNorm, patchify, tubelets
from spectranet_vision.target import image_target, normalise_each, video_target

WIDTH = 24


@pytest.fixture(scope="module")
def mae():
    config = ViTMAEConfig(
        image_size=32,
        patch_size=8,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
        norm_pix_loss=True,
        mask_ratio=0.5,
    )
    return ViTMAEForPreTraining(config)


def head_of(build, config):
    with torch.device("meta"):
        head = build(config, WIDTH)
    return initialised(head)


def colour_last(patches_BNC: torch.Tensor, patch: int) -> torch.Tensor:
    """From our order of components (colour, row, column) to ViTMAE's (row, column, colour)."""
    return patches_BNC.unflatten(-1, (3, patch, patch)).permute(0, 1, 3, 4, 2).flatten(2)


def scaled(pixels: torch.Tensor) -> torch.Tensor:
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (pixels / 255 - mean[:, None, None]) / deviation[:, None, None]


def test_patches_are_those_of_vit_mae(mae):
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.equal(colour_last(patchify(pixels, 8), 8), mae.patchify(pixels))


def test_patch_norm_is_the_usual_normalisation():
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.device("meta"):
        norm = PatchNorm("imagenet", 192)
    ours = initialised(norm)(patchify(pixels, 8))
    assert (ours - patchify(scaled(pixels), 8)).abs().max() < 1e-5


def test_the_loss_is_that_of_vit_mae(mae):
    """Its whole forward: our head, made an identity, gets its predictions for the patches it masked."""
    batch = batch_of(plugin.IMAGE, IMAGE, 3, 0.5)
    with torch.no_grad():
        theirs = mae(scaled(batch.data["pixels"]))
    with torch.device("meta"):
        head = image_target(IMAGE, 192)
    initialised(head)
    with torch.no_grad():
        head.predict.weight.copy_(torch.eye(192))
    batch.hidden_BH = theirs.mask.nonzero()[:, 1].reshape(3, -1)
    predicted_BNC = theirs.logits.unflatten(-1, (8, 8, 3)).permute(0, 1, 4, 2, 3).flatten(2)
    ours = head(gather_tokens(predicted_BNC, batch.hidden_BH), batch)
    assert ours.weight == theirs.mask.sum() == 24
    assert (ours.sum / ours.weight).item() == pytest.approx(theirs.loss.item(), rel=1e-5)


def test_padding_counts_nothing():
    batch = batch_of(plugin.IMAGE, IMAGE, 2, 0.5)
    head = head_of(image_target, IMAGE)
    states = torch.randn(2, 8, WIDTH)
    batch.hidden_valid_BH[1, 5:] = False
    states[1, 5:] = float("nan")
    loss = head(states, batch)
    assert loss.weight == 13 and loss.sum.isfinite() and loss.sum.dtype == torch.float32


def test_the_gradient_does_not_come_from_padding():
    batch = batch_of(plugin.IMAGE, IMAGE, 2, 0.5)
    head = head_of(image_target, IMAGE)
    states = torch.randn(2, 8, WIDTH, requires_grad=True)
    batch.hidden_valid_BH[1, 5:] = False
    head(states, batch).sum.backward()
    assert (states.grad[1, 5:] == 0).all() and (states.grad[1, :5] != 0).any()
    assert head.predict.weight.grad.abs().max() > 0


def test_clips_predict_whole_tubelets():
    """Against tubelets cut by hand, at the positions that the batch gives."""
    batch = batch_of(plugin.VIDEO, VIDEO, 2, 0.25)
    head = head_of(video_target, VIDEO)
    loss = head(torch.zeros(2, batch.hidden_BH.shape[1], WIDTH), batch)
    with torch.no_grad():
        expected = 0.0
        frames = scaled(batch.data["frames"])
        for sample, hidden in enumerate(batch.hidden_BH):
            for step, row, column in batch.position_BNP[sample, hidden].tolist():
                piece = frames[
                    sample, 2 * step : 2 * step + 2, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8
                ]
                expected += ((piece - piece.mean()) / (piece.var() + 1e-6).sqrt()).square().mean().item()
    assert loss.weight == batch.hidden_BH.numel()
    assert loss.sum.item() == pytest.approx(expected, rel=1e-5)


def test_a_flat_patch_has_a_target_of_zero():
    flat = torch.full((1, 1, 192), 3.0)
    assert (normalise_each(flat) == 0).all()


def test_tubelets_run_over_step_row_column():
    clip = torch.arange(4 * 16 * 16).reshape(1, 4, 1, 16, 16).expand(1, 4, 3, 16, 16)
    cut = tubelets(clip, 8, 2)
    assert cut.shape == (1, 8, 3 * 2 * 64)
    first_of_each = cut[0, :, 0].tolist()
    assert first_of_each == [
        t * 256 + row * 16 + column for t in (0, 2) for row in (0, 8) for column in (0, 8)
    ]
    assert torch.equal(gather_tokens(cut, torch.tensor([[5]]))[0, 0], cut[0, 5])
