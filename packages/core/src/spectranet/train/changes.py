"""What has changed in configuration, plugins and data since the checkpoint a run goes on from?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spectranet.data.corpus import corpus_changes
from spectranet.train.checkpoint import Checkpoint, CheckpointError

__all__ = ["check_changes", "check_data", "differences", "plugin_changes", "rank_change"]

_DATA = ("data.sources.", "data.window_shards")
_ORDER = (*_DATA, "train.seed", "train.global_batch", "train.slots")
"""What the order of the samples depends on: under another one a step count means nothing."""
_MOST_LINES = 8


def check_changes(
    checkpoint: Checkpoint, config: Mapping[str, Any], *, accept_data: bool = False
) -> list[str]:
    """A line for every option that differs from the checkpoint's.

    Args:
        accept_data: that sources are others, as when a modality is added.

    Raises:
        CheckpointError: the order of the samples is another. A source may have moved to another path.
    """
    now = json.loads(json.dumps(config))
    changes = dict(differences(checkpoint.manifest.get("config", {}), now))
    lines = {name: f"{name}: {_short(old)} -> {_short(new)}" for name, (old, new) in changes.items()}
    other_order = [name for name in lines if name.startswith(_ORDER) and not name.endswith(".path")]
    other_data = [name for name in other_order if name.startswith(_DATA)]
    if refused := [name for name in other_order if not (accept_data and name in other_data)]:
        way_out = (
            "\n  or go on with these sources in another order:  train.checkpoint.accept_changed_data=true"
        )
        raise CheckpointError(
            f"{checkpoint.path} was trained on other samples or in another order; changed since:\n  "
            + "\n  ".join(lines[name] for name in refused[:_MOST_LINES])
            + "\n  go on with the old values, or start anew:  another run_dir"
            + (way_out if refused == other_data else "")
        )
    note = ": from here on the order is another"
    return [
        f"changed since that checkpoint: {line}{note if name in other_data else ''}"
        for name, line in lines.items()
        if name != "run_dir"
    ]


def plugin_changes(checkpoint: Checkpoint, plugins: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for every plugin that is new, gone, or of another release than the checkpoint was trained with.

    Args:
        plugins: see :meth:`spectranet.plugins.PluginHost.describe`.
    """
    before, now = (
        {told["name"]: f"{told['distribution']} {told['version']}" for told in each}
        for each in (checkpoint.manifest.get("plugins", plugins), plugins)
    )
    return [
        f"changed since that checkpoint: plugin {name}: {old or 'not loaded'} -> {new or 'not loaded'}"
        for name, (old, new) in differences(before, now)
    ]


def rank_change(checkpoint: Checkpoint, ranks: int) -> list[str]:
    """A line if the checkpoint is of another number of ranks. The samples stay the same."""
    before = checkpoint.manifest.get("topology", {}).get("ranks", ranks)
    return [f"changed since that checkpoint: ranks: {before} -> {ranks}"] if before != ranks else []


def check_data(checkpoint: Checkpoint, corpus: Mapping[str, Any], *, accept: bool) -> list[str]:
    """A line for every source whose data is not what the checkpoint was trained on, if that is accepted.

    Args:
        corpus: see :func:`spectranet.data.corpus.describe_corpus`.

    Raises:
        CheckpointError: it is not accepted.
    """
    changes = list(corpus_changes(checkpoint.manifest.get("sources", {}), corpus))
    if changes and not accept:
        raise CheckpointError(
            f"{checkpoint.path} was trained on other data:\n  "
            + "\n  ".join(changes)
            + "\n  the order of all samples of a source depends on its shards: bring the old ones back"
            "\n  or go on with these in another order:  train.checkpoint.accept_changed_data=true"
            "\n  or start anew:  another run_dir"
        )
    return [f"{change}: from here on the order is another" for change in changes]


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
