"""What does the model see of a sample? As stored, and as several epochs would draw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spectranet.contracts import Modality, Preview
from spectranet.data.pipeline import Pipeline, Sample, View
from spectranet.report.media import Budget, embedded, of_pieces
from spectranet.survey.looking import Looked

__all__ = ["DRAWS", "Card", "Item", "sheet_of"]

DRAWS = 3
"""How often the same sample is drawn, so that the augmentation can be judged."""

Item = Mapping[str, Any]
"""See :mod:`spectranet.report.media`."""


@dataclass(frozen=True)
class Card:
    """One sample: for each modality what is stored, and what comes of it in each draw.

    Attributes:
        stored: modality -> item of the undecoded bytes.
        draws: modality -> for each draw its items and a line such as ``36 tokens, 5 hidden``.
    """

    key: str
    row: int
    stored: Mapping[str, Item]
    draws: Mapping[str, Sequence[tuple[Sequence[Item], str]]]


def sheet_of(
    pipeline: Pipeline,
    modalities: Mapping[str, Modality],
    options: Mapping[str, Any],
    samples: Sequence[Looked],
    budget: Budget,
) -> list[Card]:
    """A card for each of ``samples``; one that cannot be read any more is left out."""
    cards = []
    size = len(pipeline.source)
    for each in samples:
        # One sample in three epochs: another ordinal is another crop and another mask.
        drawn = [_drawn(pipeline, each.row, each.row + epoch * size) for epoch in range(DRAWS)]
        good = [sample for sample in drawn if sample is not None]
        if not good:
            continue
        _, content = pipeline.source.read(each.row)
        names = list(good[0].views)
        cards.append(
            Card(
                key=each.key,
                row=each.row,
                stored={name: embedded(content[name], name, budget) for name in names},
                draws={
                    name: [
                        (_items(modalities[name], options[name], s.views[name], budget), _said(s.views[name]))
                        for s in good
                    ]
                    for name in names
                },
            )
        )
    return cards


def _drawn(pipeline: Pipeline, row: int, ordinal: int) -> Sample | None:
    try:
        outcome = pipeline.at_row(row, ordinal)
    except Exception:
        return None  # `look` has told of it, or its randomness lets it through only sometimes
    return outcome if isinstance(outcome, Sample) else None


def _items(modality: Modality, options: Any, view: View, budget: Budget) -> list[Item]:
    if modality.preview is None:
        return [{"kind": "none", "note": f"modality '{modality.name}' has no preview"}]
    try:
        previews = list(modality.preview(options, view.values, view.hidden_N))
        return [_item(each, modality.name, budget) for each in previews]
    except Exception as error:
        note = f"its preview failed: {type(error).__name__}: {error}"
        return [{"kind": "none", "note": note}]


def _item(preview: Preview, name: str, budget: Budget) -> Item:
    if preview.kind == "text":
        return of_pieces(preview.pieces)
    return embedded(preview.content, name, budget)


def _said(view: View) -> str:
    hidden = int(view.hidden_N.sum())
    tokens = len(view.hidden_N)
    return f"{tokens:,} token{'s' * (tokens != 1)}" + (f", {hidden:,} hidden" if hidden else "")
