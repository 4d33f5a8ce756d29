"""What the image transform promises: a crop that the generator decides, and equals torchvision's."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from spectranet_vision.config import ImageConfig
from spectranet_vision.crop import Crop, centre_crop, cut, random_crop
from spectranet_vision.image_transform import ImageTransform


@pytest.fixture
def raw() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)


def test_values_have_the_shapes_of_the_contract(raw):
    values = ImageTransform(ImageConfig(size=32, patch_size=8), True)(raw, np.random.default_rng(0))
    assert values.data["pixels"].shape == (3, 32, 32) and values.data["pixels"].dtype == np.uint8
    assert values.position_NP.dtype == values.segment_N.dtype == np.int32
    assert values.position_NP.tolist() == [[row, column] for row in range(4) for column in range(4)]
    assert (values.segment_N == -1).all() and len(values.segment_N) == 16


def test_the_generator_decides_and_nothing_else(raw):
    transform = ImageTransform(ImageConfig(size=32, patch_size=8, crop_scale_min=0.2, flip=True), True)
    copy = pickle.loads(pickle.dumps(transform))
    first = transform(raw, np.random.default_rng(5)).data["pixels"]
    assert np.array_equal(first, copy(raw, np.random.default_rng(5)).data["pixels"])
    assert not np.array_equal(first, transform(raw, np.random.default_rng(6)).data["pixels"])


def test_evaluation_draws_nothing(raw):
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    ImageTransform(ImageConfig(size=32, patch_size=8), False)(raw, rng)
    assert rng.bit_generator.state == before


def test_the_cut_is_torchvisions_resized_crop(raw):
    expected = F.resized_crop(
        torch.from_numpy(raw).permute(2, 0, 1), 5, 9, 31, 40, [24, 24], InterpolationMode.BICUBIC, True
    )
    assert np.array_equal(cut(raw, Crop(5, 9, 31, 40), 24), expected.numpy())
    assert np.array_equal(cut(raw, Crop(5, 9, 31, 40, mirrored=True), 24), expected.flip(-1).numpy())


def test_evaluation_equals_resize_and_centre_crop_inside_the_border():
    """On a smooth picture: of noise the border filter would show several pixels deep."""
    rows, columns = np.mgrid[:60, :100]
    smooth = np.stack([rows * 4, columns * 2, rows + columns], axis=-1).astype(np.uint8)
    ours = ImageTransform(ImageConfig(size=30, patch_size=10), False)(smooth, np.random.default_rng(0))
    whole = F.resize(torch.from_numpy(smooth).permute(2, 0, 1), [30], InterpolationMode.BICUBIC)
    theirs = F.center_crop(whole, [30, 30]).numpy().astype(int)
    difference = np.abs(ours.data["pixels"] - theirs)[:, 2:-2, 2:-2]
    assert difference.max() <= 1


def test_random_crops_keep_to_area_and_shape():
    rng = np.random.default_rng(0)
    crops = [random_crop(200, 300, 0.25, 4 / 3, True, rng) for _ in range(500)]
    area = np.array([c.height * c.width for c in crops]) / (200 * 300)
    shape = np.array([c.width / c.height for c in crops])
    assert area.min() > 0.24 and area.max() <= 1 and area.std() > 0.1
    assert shape.min() > 0.74 and shape.max() < 1.35
    assert all(0 <= c.top <= 200 - c.height and 0 <= c.left <= 300 - c.width for c in crops)
    assert 0.4 < np.mean([c.mirrored for c in crops]) < 0.6


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (700, 2), (3, 3)])
def test_odd_pictures_still_give_a_crop(size):
    raw = np.zeros((*size, 3), dtype=np.uint8)
    for train in (True, False):
        values = ImageTransform(ImageConfig(size=16, patch_size=8), train)(raw, np.random.default_rng(0))
        assert values.data["pixels"].shape == (3, 16, 16)


def test_no_cropping_leaves_a_square_picture_whole():
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    config = ImageConfig(size=32, patch_size=8, crop_scale_min=1.0, crop_aspect_max=1.0)
    assert np.array_equal(ImageTransform(config, True)(raw, rng).data["pixels"], raw.transpose(2, 0, 1))
    assert centre_crop(32, 32) == Crop(0, 0, 32, 32)
