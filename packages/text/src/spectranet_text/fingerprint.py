"""Near duplicates of a text: those whose fingerprints differ in few bits."""

from __future__ import annotations

import numpy as np

GRAM = 5
_BITS = 64


def simhash(raw: str) -> int:
    """64-bit simhash (Charikar 2002) over the character 5-grams of a text.

    Case and white space do not count. A text of fewer than five characters is one gram. The same on
    every machine: unsigned 64-bit arithmetic only.
    """
    text = " ".join(raw.lower().split())
    codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4").astype(np.uint64)
    grams_GC = np.lib.stride_tricks.sliding_window_view(codes, min(GRAM, len(codes)))
    hashes_G = np.zeros(len(grams_GC), dtype=np.uint64)
    for code_G in grams_GC.T:
        hashes_G = _mix(hashes_G ^ code_G)
    ones = [int(((hashes_G >> np.uint64(bit)) & np.uint64(1)).sum()) for bit in range(_BITS)]
    return sum(1 << bit for bit, count in enumerate(ones) if 2 * count > len(hashes_G))


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's step (Steele, Lea and Flood 2014): every input bit reaches every output bit."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = x ^ (x >> np.uint64(31))
    return x
