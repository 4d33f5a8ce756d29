"""What did retrieval find? Its examples with the bytes of their samples, for the report to show.

The task ``retrieval`` writes keys and scores; the bytes come from the held-out sources as they are
stored. A browser decodes them, so nothing here does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spectranet.config import Config
from spectranet.contracts import Modality, Reader
from spectranet.data.source import Source, open_source
from spectranet.data.spread import spread
from spectranet.report import render
from spectranet.report.media import Budget, embedded

__all__ = ["build_gallery", "write_gallery"]

LARGEST_GALLERY_B = 16_000_000


def write_gallery(
    run_dir: Path, config: Config, modalities: Mapping[str, Modality], readers: Sequence[Reader]
) -> str:
    """Turn ``retrieval.json`` of a run into ``gallery.json`` if it is there, and draw the report.

    Returns:
        A line of warning, or an empty string: a page that cannot be drawn must not fail a run.
    """
    warnings = []
    try:
        path = Path(run_dir) / "retrieval.json"
        if path.is_file():
            gallery = build_gallery(json.loads(path.read_text()), config, modalities, readers)
            (Path(run_dir) / "gallery.json").write_text(json.dumps(gallery))
    except Exception as error:
        warnings.append(f"the report has no new gallery: {_one_line(error)}")
    try:
        render(Path(run_dir))
    except Exception as error:
        warnings.append(f"the report was not written: {_one_line(error)}")
    return f"warning: {'; '.join(warnings)}" if warnings else ""


def build_gallery(
    examples: Mapping[str, Sequence[Mapping[str, Any]]],
    config: Config,
    modalities: Mapping[str, Modality],
    readers: Sequence[Reader],
    per_direction: int = 6,
    columns: int = 5,
) -> dict[str, Any]:
    """The examples of each direction, spread evenly, with what their keys stand for.

    Args:
        examples: ``{"{source}/{a}-{b}": [{"query": key, "ranked": [{"key", "score", "right"}]}]}``.
        config: section ``eval.sources``.

    Returns:
        ``{direction: {"source", "query", "candidate", "rows"}}``. A row has the item ``query``,
        ``found`` (items with ``score`` and ``right``), ``place`` of the first right one among the
        ranked, counted from 1, or None, and ``answer``: the item paired with the query, or None
        where a right one is in ``found``. An item has ``key`` and ``kind``: ``text`` with
        ``text``, ``image``/``audio``/``video`` with ``uri``, or ``none`` with ``note``.

    Raises:
        ConfigError, DataError: a source cannot be opened.
    """
    gallery: dict[str, Any] = {}
    budget = Budget(LARGEST_GALLERY_B)
    for direction, all_shown in examples.items():
        name, _, pair = direction.rpartition("/")
        if name not in config.eval.sources or not all_shown:
            continue
        source = open_source(name, config.eval.sources[name], modalities, readers, config.data, "eval")
        names = _modalities_of(pair, source.modalities)
        if names is None:
            continue
        shown = [all_shown[i] for i in spread(len(all_shown), per_direction)]
        keys = {key for each in shown for key in (each["query"], *_found_keys(each, columns))}
        samples = _Samples(source, _rows_of(source, keys), budget)
        gallery[direction] = {
            "source": name,
            "query": names[0],
            "candidate": names[1],
            "rows": [_row(each, samples, *names, columns) for each in shown],
        }
    return gallery


def _row(
    example: Mapping[str, Any], samples: _Samples, query: str, candidate: str, columns: int
) -> dict[str, Any]:
    ranked = example["ranked"]
    found = [
        samples.item(each["key"], candidate) | {"score": float(each["score"]), "right": bool(each["right"])}
        for each in ranked[:columns]
    ]
    place = next((i for i, each in enumerate(ranked, start=1) if each["right"]), None)
    seen = place is not None and place <= columns
    return {
        "query": samples.item(example["query"], query),
        "found": found,
        "place": place,
        "answer": None if seen else samples.item(example["query"], candidate),
    }


class _Samples:
    """Items of one source by the keys of its samples; each sample is read once."""

    def __init__(self, source: Source, rows: Mapping[str, int], budget: Budget) -> None:
        self.source = source
        self.rows = rows
        self.budget = budget
        self.read: dict[str, dict[str, bytes]] = {}

    def item(self, key: str, modality: str) -> dict[str, Any]:
        if key not in self.rows:
            return {"key": key, "kind": "none", "note": "not in the source any more"}
        if key not in self.read:
            self.read[key] = self.source.read(self.rows[key])[1]
        return {"key": key} | embedded(self.read[key][modality], modality, self.budget)


def _rows_of(source: Source, keys: set[str]) -> dict[str, int]:
    """The first row of each key, found without reading any field."""
    rows: dict[str, int] = {}
    for row in range(len(source)):
        if len(rows) == len(keys):
            break
        key = source.samples.read(row, ()).key
        if key in keys:
            rows.setdefault(key, row)
    return rows


def _found_keys(example: Mapping[str, Any], columns: int) -> Iterable[str]:
    return (each["key"] for each in example["ranked"][:columns])


def _modalities_of(pair: str, known: Sequence[str]) -> tuple[str, str] | None:
    """``"text-image"`` to its two names, which may hold dashes themselves."""
    return next(((a, b) for a in known for b in known if f"{a}-{b}" == pair), None)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
