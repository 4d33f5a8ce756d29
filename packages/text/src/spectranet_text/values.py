"""From the bytes of a text to its tokens: decoding, the transform, masks and an example.

Shape suffixes: N tokens of one text, P coordinates of a position (one: the place in the text).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spectranet import DecodeError, Values
from spectranet_text.options import TextConfig, checked_tokenizer
from spectranet_text.tokenizer import BOS, EOS, MASK, UNK, Tokenizer

LARGEST_BYTES = 1 << 20
# Pieces of SentencePiece are at most 16 characters long (its max_sentencepiece_length); twice that
# leaves room for white space, which it drops.
_CHARACTERS_PER_TOKEN = 32


def decode(data: bytes) -> str:
    """Strict UTF-8, without byte-order mark and surrounding white space.

    Raises:
        DecodeError: not UTF-8, empty, or more than 1 MiB.
    """
    if len(data) > LARGEST_BYTES:
        raise DecodeError(f"text of {len(data)} bytes; the limit is {LARGEST_BYTES}")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"text is not UTF-8: {error.reason} at byte {error.start}") from error
    if "\0" in text:
        raise DecodeError("text has NUL characters; it may be binary or UTF-16")
    text = text.removeprefix("\ufeff").strip()
    if not text:
        raise DecodeError("text is empty")
    return text


@dataclass(frozen=True)
class TextTransform:
    """Begin, the pieces of the text, end; a text that is cut at ``max_tokens`` has no end."""

    tokenizer: Tokenizer
    max_tokens: int

    def __call__(self, raw: str, rng: np.random.Generator) -> Values:
        # Tokenising a whole page to keep its first lines would cost a hundred times as much.
        head = raw[: self.max_tokens * _CHARACTERS_PER_TOKEN]
        ids_N = [BOS, *self.tokenizer.encode(head), EOS]
        if len(head) < len(raw):
            ids_N.pop()
        ids_N = ids_N[: self.max_tokens]
        return _values(ids_N)


def _values(ids_N: list[int]) -> Values:
    length = len(ids_N)
    return Values(
        data={"ids": np.array(ids_N, dtype=np.int64)},
        position_NP=np.arange(length, dtype=np.int32)[:, None],
        segment_N=np.full(length, -1, dtype=np.int32),
    )


def largest(config: TextConfig) -> Values:
    """A text of ``max_tokens`` pieces that nobody knows; needs no tokenizer."""
    return _values([BOS, *[UNK] * (config.max_tokens - 1)])


def build_transform(config: TextConfig, train: bool) -> TextTransform:
    """Text is not augmented: the transform for training and evaluation is the same."""
    return TextTransform(checked_tokenizer(config), config.max_tokens)


def sample_mask(values: Values, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Which tokens to hide: bool (N,), True at ``ratio`` of the tokens that are not special.

    The count is rounded up or down at random so that its mean is right for short texts as well.
    Of two or more pieces at least one is hidden. A single piece is hidden at the given ratio only:
    hiding it always would leave, of a caption like "seven", nothing to learn its meaning from.
    """
    ids_N = values.data["ids"]
    candidates = np.flatnonzero((ids_N > MASK) | (ids_N == UNK))
    count = int(ratio * len(candidates) + rng.random())
    if ratio > 0 and len(candidates) > 1:
        count = max(count, 1)
    mask_N = np.zeros(len(ids_N), dtype=bool)
    mask_N[rng.permutation(candidates)[:count]] = True
    return mask_N


def example(rng: np.random.Generator) -> bytes:
    """A caption such as a generated scene would have."""
    size, colour, shape, motion = (
        str(rng.choice(words))
        for words in (
            ("small", "large", "tiny", "huge"),
            ("red", "green", "blue", "yellow", "white", "purple"),
            ("circle", "square", "triangle", "star", "ring"),
            ("moves to the left", "moves to the right", "rises", "falls", "stays in the middle"),
        )
    )
    return f"a {size} {colour} {shape} {motion}".encode()
