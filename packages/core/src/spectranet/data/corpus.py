"""Is it still the same data? What the order of the samples depends on, in a line a source.

The order is a function of the numbers of rows of a source's shards. A shard that came, went, grew or
changed places is noticed; one that was replaced by another of as many samples is not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from spectranet.data.source import Source

__all__ = ["corpus_changes", "describe_corpus"]


def describe_corpus(sources: Sequence[Source]) -> dict[str, dict[str, Any]]:
    """Name -> ``{samples, parts, digest}``, to be written down with the run."""
    return {source.name: _describe(np.asarray(source.parts, dtype="<i8")) for source in sources}


def corpus_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """A line for every source that both know and that has other shards now."""
    for name in sorted(before.keys() & now.keys()):
        old, new = before[name], now[name]
        if old == new:
            continue
        if (old["samples"], old["parts"]) == (new["samples"], new["parts"]):
            change = f"has as many samples as before, {_amount(new)}, but other numbers in some of them"
        else:
            change = f"had {_amount(old)}, now {_amount(new)}"
        yield f"source '{name}' {change}: from here on the order is another"


def _describe(parts: np.ndarray) -> dict[str, Any]:
    digest = hashlib.blake2b(parts.tobytes(), digest_size=8).hexdigest()
    return {"samples": int(parts.sum()), "parts": len(parts), "digest": digest}


def _amount(told: Mapping[str, Any]) -> str:
    samples, parts = (f"{told[what]:,}" for what in ("samples", "parts"))
    return f"{samples} samples in {parts} shard{'' if parts == '1' else 's'}"
