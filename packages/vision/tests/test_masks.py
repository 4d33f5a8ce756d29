"""What masks promise: exact counts, the generator's choice, tubes through time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectranet import Values
from spectranet_vision.masks import random_patches, random_tubes


def values_of(steps: int, cells: int) -> Values:
    segment = np.repeat(np.arange(steps), cells).astype(np.int32)
    return Values({}, np.zeros((steps * cells, 3), dtype=np.int32), segment)


@given(st.integers(1, 300), st.floats(0, 1), st.integers(0, 2**31))
def test_image_masks_have_exactly_their_share(count, ratio, seed):
    values = Values({}, np.zeros((count, 2), np.int32), np.full(count, -1, np.int32))
    mask = random_patches(values, ratio, np.random.default_rng(seed))
    assert mask.dtype == bool and mask.shape == (count,) and mask.sum() == round(ratio * count)
    assert np.array_equal(mask, random_patches(values, ratio, np.random.default_rng(seed)))


@given(st.integers(1, 8), st.integers(1, 64), st.floats(0, 1), st.integers(0, 2**31))
def test_tubes_hide_the_same_cells_at_every_step(steps, cells, ratio, seed):
    mask = random_tubes(values_of(steps, cells), ratio, np.random.default_rng(seed)).reshape(steps, cells)
    assert (mask == mask[0]).all() and mask[0].sum() == round(ratio * cells)


@pytest.mark.parametrize("choose", [random_patches, random_tubes])
def test_every_cell_is_hidden_equally_often(choose):
    rng = np.random.default_rng(0)
    share = np.mean([choose(values_of(2, 16), 0.25, rng) for _ in range(2000)], axis=0)
    assert np.abs(share - 0.25).max() < 0.04
