"""Which frames of a clip masked modelling hides: spans, as in wav2vec 2.0, but an exact count.

Baevski et al. 2020, "wav2vec 2.0", section 3.1, hides spans of 10 frames that may overlap. Spans
here do not overlap, so that the share of hidden frames is the requested one in every clip.
"""

from __future__ import annotations

import numpy as np

from spectranet import Values

__all__ = ["SPAN", "sample_mask"]

SPAN = 10
"""Frames of a span: 200 ms. Clips too short for one span of this length get a shorter one."""


def sample_mask(values: Values, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Bool (N,), True at ``round(ratio * N)`` frames in spans of at most about 10.

    At least one frame is hidden where there are two and the ratio is positive; never all of them.
    """
    frames = len(values.segment_N)
    if ratio <= 0 or frames < 2:
        return np.zeros(frames, dtype=bool)
    hidden = min(max(round(ratio * frames), 1), frames - 1)
    spans = -(-hidden // SPAN)
    lengths = np.full(spans, hidden // spans)
    lengths[: hidden % spans] += 1
    rng.shuffle(lengths)
    # Spans and visible frames stand in a row in random order: every arrangement is as likely.
    row = np.zeros(frames - hidden + spans, dtype=int)
    row[np.sort(rng.choice(len(row), size=spans, replace=False))] = lengths
    return np.repeat(row > 0, np.maximum(row, 1))
