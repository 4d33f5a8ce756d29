"""What people are shown of a text is what the model gets: its pieces, hidden ones marked."""

from __future__ import annotations

import numpy as np

from spectranet_text.options import TextConfig
from spectranet_text.plugin import TEXT


def test_pieces_are_those_of_the_cut_text_without_begin_and_end():
    config = TextConfig(max_tokens=7)
    values = TEXT.build_transform(config, True)("blå bird", np.random.default_rng(0))
    hidden_N = np.arange(len(values.segment_N)) == 1

    (preview,) = TEXT.preview(config, values, hidden_N)

    assert preview.kind == "text"
    assert preview.pieces == [
        ("b", True), ("l", False), ("<0xC3>", False), ("<0xA5>", False), (" ", False), ("b", False)
    ]  # fmt: skip


def test_lengths_count_what_would_be_cut():
    facts = TEXT.describe(TextConfig(max_tokens=8), "blå bird")

    assert facts == {"characters": 8, "whole_tokens": 11, "cut_at_max_tokens_share": 1}
    assert TEXT.describe(TextConfig(max_tokens=11), "blå bird")["cut_at_max_tokens_share"] == 0
