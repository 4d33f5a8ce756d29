"""How do texts look to people: their lengths, and what the tokenizer made of them?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from spectranet import Preview, Values
from spectranet_text.options import TextConfig, checked_tokenizer
from spectranet_text.tokenizer import BOS, EOS, SPECIALS, ByteTokenizer, Tokenizer

__all__ = ["describe", "preview"]

_COUNTED = 1 << 16
"""Characters whose tokens are counted: of a book one only needs to know that it is too long."""
_SPACE = "▁"
"""How SentencePiece writes a space."""


def describe(config: TextConfig, raw: str) -> Mapping[str, float]:
    """Length of a text in characters and, begin and end included, in tokens; whether it is cut."""
    tokens = len(checked_tokenizer(config).encode(raw[:_COUNTED])) + 2
    return {
        "characters": len(raw),
        "whole_tokens": tokens,
        "cut_at_max_tokens_share": float(tokens > config.max_tokens),
    }


def preview(config: TextConfig, values: Values, hidden_N: np.ndarray) -> Sequence[Preview]:
    """The pieces as the model gets them, without begin and end."""
    tokenizer = checked_tokenizer(config)
    pieces = [
        (_readable(tokenizer, int(index)), bool(hidden))
        for index, hidden in zip(values.data["ids"], hidden_N, strict=True)
        if index not in (BOS, EOS)
    ]
    return [Preview("text", pieces=pieces)]


def _readable(tokenizer: Tokenizer, index: int) -> str:
    if isinstance(tokenizer, ByteTokenizer) and index >= len(SPECIALS):
        character = chr(index - len(SPECIALS))
        return character if " " <= character <= "~" else tokenizer.piece(index)
    return tokenizer.piece(index).replace(_SPACE, " ")
