"""Spans of hidden frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectranet import Values
from spectranet_audio.masking import SPAN, sample_mask


def clip(frames: int) -> Values:
    return Values({}, np.arange(frames, dtype=np.int32)[:, None], np.arange(frames, dtype=np.int32) // 10)


def spans(mask_N: np.ndarray) -> list[int]:
    """Lengths of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask_N.astype(int), [0]])))
    return (edges[1::2] - edges[::2]).tolist()


@settings(deadline=None, max_examples=200)
@given(frames=st.integers(1, 600), ratio=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_the_count_is_exact_and_neither_none_nor_all(frames: int, ratio: float, seed: int) -> None:
    mask_N = sample_mask(clip(frames), ratio, np.random.default_rng(seed))
    assert mask_N.shape == (frames,) and mask_N.dtype == np.bool_
    if ratio == 0 or frames == 1:
        assert not mask_N.any()
    else:
        assert mask_N.sum() == min(max(round(ratio * frames), 1), frames - 1)


def test_hidden_frames_stand_in_spans(rng) -> None:
    runs = [spans(sample_mask(clip(500), 0.15, rng)) for _ in range(50)]
    assert all(sum(run) == 75 and len(run) <= 8 for run in runs)
    # Eight spans of 9 or 10; now and then two of them touch.
    assert np.median([length for run in runs for length in run]) in (SPAN - 1, SPAN)


def test_short_clips_hide_one_short_span(rng) -> None:
    assert spans(sample_mask(clip(49), 0.15, rng)) == [7]
    assert spans(sample_mask(clip(3), 0.15, rng)) == [1]


def test_every_frame_is_hidden_equally_often_but_at_the_edges(rng) -> None:
    rate_N = np.mean([sample_mask(clip(100), 0.15, rng) for _ in range(4_000)], axis=0)
    assert rate_N.mean() == pytest.approx(0.15)
    inside = rate_N[10:-10]
    assert inside.min() > 0.12 and inside.max() < 0.20
    assert rate_N[0] > 0.01 and rate_N[-1] > 0.01


def test_masks_come_from_the_generator_alone() -> None:
    one, two, other = (sample_mask(clip(200), 0.3, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, two) and not np.array_equal(one, other)
