"""What has changed in the configuration since the checkpoint a run goes on from?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from spectranet.train.checkpoint import Checkpoint, CheckpointError

__all__ = ["check_changes", "differences"]

_ORDER = ("data.sources.", "data.window_shards", "train.seed", "train.global_batch", "train.slots")
"""What the order of the samples depends on: under another one a step count means nothing."""
_MOST_LINES = 8


def check_changes(checkpoint: Checkpoint, config: Mapping[str, Any]) -> list[str]:
    """A line for every option that differs from the checkpoint's.

    Raises:
        CheckpointError: the order of the samples is another. A source may have moved to another path.
    """
    now = json.loads(json.dumps(config))
    changes = dict(differences(checkpoint.manifest.get("config", {}), now))
    lines = {name: f"{name}: {_short(old)} -> {_short(new)}" for name, (old, new) in changes.items()}
    other_order = [
        line for name, line in lines.items() if name.startswith(_ORDER) and not name.endswith(".path")
    ]
    if other_order:
        raise CheckpointError(
            f"{checkpoint.path} was trained on other samples or in another order; changed since:\n  "
            + "\n  ".join(other_order[:_MOST_LINES])
            + "\n  go on with the old values, or start anew:  another run_dir"
        )
    return [f"changed since that checkpoint: {line}" for name, line in lines.items() if name != "run_dir"]


def differences(old: Any, new: Any, name: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Dotted name -> (old, new) of every leaf that differs; None where one side has none."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from differences(old.get(key), new.get(key), f"{name}.{key}" if name else str(key))
    elif old != new:
        yield name, (old, new)


def _short(value: Any) -> str:
    text = "unset" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "…"
