"""From bytes to tokens: what is refused, how long texts are cut, which tokens are hidden."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectranet import ConfigError, DecodeError
from spectranet_text.collate import collate
from spectranet_text.options import TextConfig
from spectranet_text.values import build_transform, decode, example, sample_mask


def tokens(text: str, rng: np.random.Generator, **options: object):
    return build_transform(TextConfig(**options), True)(text, rng)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"caf\xe9", "not UTF-8.*byte 3"),
        (b"\xed\xa0\x80", "not UTF-8"),
        (b"", "empty"),
        (b" \n\t \xc2\xa0", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        ("a".encode("utf-16-be"), "NUL"),
        (b"x" * (1 << 20) + b"x", "1048577 bytes; the limit is 1048576"),
    ],
)
def test_what_is_no_text_is_refused(data, reason):
    with pytest.raises(DecodeError, match=reason):
        decode(data)


def test_decode_strips_mark_and_space_and_keeps_the_rest():
    assert decode("\ufeff 漢字 👍\nb ".encode()) == "漢字 👍\nb"
    assert len(decode(b"x" * (1 << 20))) == 1 << 20


def test_values_are_begin_pieces_end(rng):
    values = tokens("hé", rng)
    assert values.data["ids"].tolist() == [2, 5 + ord("h"), 5 + 0xC3, 5 + 0xA9, 3]
    assert values.data["ids"].dtype == np.int64
    assert values.position_NP.tolist() == [[0], [1], [2], [3], [4]]
    assert values.position_NP.dtype == np.int32
    assert values.segment_N.tolist() == [-1] * 5


@pytest.mark.parametrize("length", [6, 7, 1000, 100_000])
def test_a_cut_text_has_no_end(rng, length):
    ids = tokens("x" * length, rng, max_tokens=8).data["ids"]
    assert len(ids) == 8
    assert (ids[-1] == 3) == (length == 6)


def test_transform_does_not_depend_on_the_random_state_and_pickles(rng, model_path):
    transform = build_transform(TextConfig(tokenizer=str(model_path)), False)
    again = pickle.loads(pickle.dumps(transform))
    one = transform("a red circle", rng).data["ids"]
    assert np.array_equal(one, again("a red circle", np.random.default_rng(99)).data["ids"])


def test_the_vocabulary_must_be_the_tokenizers(model_path):
    with pytest.raises(ConfigError, match=r"is 32000, but .* has 350 pieces"):
        build_transform(TextConfig(tokenizer=str(model_path), vocab_size=32000), True)


def test_collate_pads_with_zero(rng):
    batch = collate([tokens(text, rng).data for text in ("a", "abc")])
    assert batch["ids"].tolist() == [[2, 102, 3, 0, 0], [2, 102, 103, 104, 3]]


@given(length=st.integers(0, 40), ratio=st.floats(0, 1), seed=st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_mask_hides_the_share_and_no_special(length, ratio, seed):
    rng = np.random.default_rng(seed)
    values = tokens("x" * length, rng)
    mask = sample_mask(values, ratio, rng)
    assert mask.dtype == bool and mask.shape == values.data["ids"].shape
    assert not mask[0] and not mask[-1]
    floor = max(int(ratio * length), 1 if ratio > 0 and length > 1 else 0)
    assert floor <= mask.sum() <= max(int(ratio * length) + 1, floor)


@pytest.mark.parametrize("length", [1, 7, 10, 33])
def test_mask_has_the_right_mean_and_spreads_evenly(rng, length):
    values = tokens("x" * length, rng)
    masks = np.stack([sample_mask(values, 0.15, rng) for _ in range(4000)])
    expected = max(0.15, 1 / length) if length > 1 else 0.15
    assert masks[:, 1:-1].mean() == pytest.approx(expected, abs=0.02)
    assert np.ptp(masks[:, 1:-1].mean(0)) < 0.06


def test_example_is_a_text_and_follows_the_seed():
    made = [decode(example(np.random.default_rng(seed))) for seed in range(20)]
    assert made[3] == decode(example(np.random.default_rng(3)))
    assert len(set(made)) > 15
