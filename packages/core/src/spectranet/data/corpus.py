"""Is it still the same data? What the order of the samples depends on, in a few numbers a source.

The order is a function of the numbers of rows of a source's shards. Which samples stand in those rows is
what its reader calls their identity: of tars names and sizes, of a manifest the rows, of a folder the
names. Where the data lies and when it was written is no part of it: a copy elsewhere is the same data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from spectranet.data.source import Source

__all__ = ["corpus_changes", "describe_corpus"]


def describe_corpus(sources: Sequence[Source]) -> dict[str, dict[str, Any]]:
    """Name -> ``{samples, parts, broken, digest, identity}``, to be written down with the run.

    ``digest`` is of the numbers of rows; ``identity`` is None where the reader does not give it.
    """
    return {source.name: _describe(source) for source in sources}


def corpus_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """A line with the numbers for every source that both know and whose samples or shards are others."""
    for name in sorted(before.keys() & now.keys()):
        if change := _change(before[name], now[name]):
            yield f"source '{name}' {change}{_broken(before[name], now[name])}"


def _describe(source: Source) -> dict[str, Any]:
    parts = np.asarray(source.parts, dtype="<i8")
    return {
        "samples": int(parts.sum()),
        "parts": len(parts),
        "broken": len(source.broken),
        "digest": hashlib.blake2b(parts.tobytes(), digest_size=8).hexdigest(),
        "identity": getattr(source.samples, "identity", None),
    }


def _change(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    if (old["samples"], old["parts"]) != (new["samples"], new["parts"]):
        return f"had {_amount(old)}, now {_amount(new)}"
    if old["digest"] != new["digest"]:
        return f"has as many samples as before, {_amount(new)}, but other numbers in some of them"
    identities = old.get("identity"), new.get("identity")
    if None not in identities and len({*identities}) > 1:
        return f"has {_amount(new)} as before, but not the same: names, sizes or rows of its files differ"
    return ""


def _broken(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """A shard that could not be read at one of the two starts is reason enough."""
    then, now = old.get("broken", 0), new["broken"]
    if then == now:
        return ""
    return f" (shards that cannot be read whole: then {then:,}, now {now:,}; the log of the start names them)"


def _amount(told: Mapping[str, Any]) -> str:
    samples, parts = (f"{told[what]:,}" for what in ("samples", "parts"))
    return f"{samples} samples in {parts} shard{'' if parts == '1' else 's'}"
