"""What the video transform promises: even moments, one crop for all frames, tubelets in order."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from spectranet_vision.config import VideoConfig
from spectranet_vision.examples import mp4_example
from spectranet_vision.video_decode import decode_video
from spectranet_vision.video_transform import VideoTransform, choose_moments

CONFIG = VideoConfig(size=32, patch_size=16, frames=4, tubelet=2, crop_scale_min=0.3, flip=True)


@pytest.fixture(scope="module")
def clip():
    return decode_video(mp4_example(np.random.default_rng(0)))


def test_values_have_the_shapes_of_the_contract(clip):
    values = VideoTransform(CONFIG, True)(clip, np.random.default_rng(0))
    assert values.data["frames"].shape == (4, 3, 32, 32) and values.data["frames"].dtype == np.uint8
    assert values.position_NP.dtype == values.segment_N.dtype == np.int32
    steps = [[t, row, column] for t in range(2) for row in range(2) for column in range(2)]
    assert values.position_NP.tolist() == steps
    assert values.segment_N.tolist() == [0] * 4 + [1] * 4


def test_the_generator_decides_and_nothing_else(clip):
    transform = VideoTransform(CONFIG, True)
    copy, same_clip = pickle.loads(pickle.dumps((transform, clip)))
    first = transform(clip, np.random.default_rng(5)).data["frames"]
    assert np.array_equal(first, copy(same_clip, np.random.default_rng(5)).data["frames"])
    assert not np.array_equal(first, transform(clip, np.random.default_rng(6)).data["frames"])


def test_all_frames_are_cut_alike(clip):
    """The ground does not move in the example, so a corner that the disc misses stays the same."""
    frames = VideoTransform(CONFIG, True)(clip, np.random.default_rng(1)).data["frames"].astype(int)
    still = np.abs(frames - frames[:1]).max(axis=(0, 1)) <= 8
    assert 0.3 < still.mean() < 1


def test_evaluation_takes_the_middle_and_draws_nothing(clip):
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    first = VideoTransform(CONFIG, False)(clip, rng).data["frames"]
    assert rng.bit_generator.state == before
    middle = list(clip.frames_at([0.25, 0.75, 1.25, 1.75]))
    assert np.abs(first.mean(axis=(1, 2, 3)) - [f[:, 16:112].mean() for f in middle]).max() < 2


def test_moments_are_even_and_inside():
    assert choose_moments(8.0, 4, None, None) == [1.0, 3.0, 5.0, 7.0]
    assert choose_moments(8.0, 4, 2.0, None) == [3.25, 3.75, 4.25, 4.75]
    assert choose_moments(1.0, 2, 5.0, None) == [0.25, 0.75]
    rng = np.random.default_rng(0)
    drawn = np.array([choose_moments(8.0, 4, 2.0, rng) for _ in range(200)])
    assert drawn.min() >= 0 and drawn.max() <= 8.0 and drawn[:, 0].std() > 1
    assert np.allclose(np.diff(drawn), 0.5)


def test_a_clip_shorter_than_the_frames_asked_repeats_some(clip):
    config = VideoConfig(size=32, patch_size=16, frames=40, tubelet=2)
    frames = VideoTransform(config, False)(clip, np.random.default_rng(0)).data["frames"]
    assert frames.shape[0] == 40 and len({frame.tobytes() for frame in frames}) == 16
