"""Near duplicates have near fingerprints."""

from __future__ import annotations

import numpy as np
import pytest

from spectranet_text.fingerprint import simhash
from spectranet_text.values import LARGEST_BYTES

TEXT = (
    "A panoramic view of the old harbour at dusk, with fishing boats tied to the stone quay, gulls over "
    "the roofs and a lighthouse whose beam has just begun to turn above the darkening water."
)


def distance(one: str, two: str) -> int:
    return (simhash(one) ^ simhash(two)).bit_count()


def test_case_and_white_space_do_not_count():
    assert distance(TEXT, "  " + TEXT.upper().replace(" ", "\n ")) == 0


def test_a_changed_word_is_nearer_than_another_text():
    assert 0 < distance(TEXT, TEXT.replace("stone", "wooden")) <= 12
    assert (
        distance(TEXT, "Recipe: whisk three eggs with sugar until pale, then fold in the flour and bake.")
        > 16
    )


def test_unrelated_texts_differ_in_half_the_bits(rng):
    prints = [simhash("".join(rng.choice(list("abcdefghij "), 200))) for _ in range(40)]
    pairs = [(one ^ two).bit_count() for i, one in enumerate(prints) for two in prints[:i]]
    assert 30 < np.mean(pairs) < 34


@pytest.mark.parametrize("text", [TEXT, "zero", "naïve 漢字 👍👍"])
def test_is_simhash_of_character_5_grams(text):
    assert simhash(text) == plain_simhash(text)


def plain_simhash(text: str) -> int:
    """The definition, in whole numbers without bounds."""
    text = " ".join(text.lower().split())
    votes = [0] * 64
    for start in range(max(1, len(text) - 4)):
        value = 0
        for character in text[start : start + 5]:
            value = ((value ^ ord(character)) + 0x9E3779B97F4A7C15) % 2**64
            value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
            value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
            value ^= value >> 31
        votes = [vote + (1 if value >> bit & 1 else -1) for bit, vote in enumerate(votes)]
    return sum(1 << bit for bit, vote in enumerate(votes) if vote > 0)


def test_short_and_long_texts_have_one():
    for text in ("a", "é", "👍", "x" * LARGEST_BYTES):
        assert 0 <= simhash(text) < 1 << 64
