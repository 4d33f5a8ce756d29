"""How are the retrieved examples shown? A row per query, the best candidates beside it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from spectranet.report.media import media

__all__ = ["gallery_section"]


def gallery_section(gallery: Mapping[str, Any]) -> str:
    """The section of ``gallery.json`` (see :mod:`spectranet.tasks.gallery`); empty without examples."""
    directions = [(name, each) for name, each in gallery.items() if each.get("rows")]
    if not directions:
        return ""
    parts = [
        '<section id="gallery"><h2>What it finds</h2><p class="legend">Each row is a query from held-out '
        'data and its best candidates, the best first. <span class="tick-mark">✓</span> marks a right one; '
        "where none is shown, the answer stands at the end.</p>"
    ]
    for name, each in sorted(directions, key=lambda item: not _asks_in_words(item[1])):
        rows = "".join(_row(row) for row in each["rows"])
        heading = f"{escape(str(each['query']))} → {escape(str(each['candidate']))}"
        kind = escape(_kind_of(each["rows"]))
        opened = " open" if _asks_in_words(each) else ""
        parts.append(
            f'<details class="direction" data-direction="{escape(name)}"{opened}><summary>{heading} '
            f"<small>{escape(str(each['source']))}</small></summary>"
            f'<div class="gallery of-{kind}">{rows}</div></details>'
        )
    return "".join(parts) + "</section>"


def _asks_in_words(direction: Mapping[str, Any]) -> bool:
    """Whether to show it before the others, and opened: one sees at a glance what was asked."""
    return all(row["query"].get("kind") == "text" for row in direction["rows"])


def _row(row: Mapping[str, Any]) -> str:
    found = "".join(
        _cell(item, place, "right" if item.get("right") else "wrong")
        for place, item in enumerate(row["found"], start=1)
    )
    answer = row.get("answer")
    if answer:
        place = row.get("place")
        where = f"answer, place {place}" if place else "answer, further down"
        found += _cell(answer, where, "answer")
    query = f'<div class="query">{media(row["query"])}</div>'
    return f'<div class="query-row">{query}<div class="found">{found}</div></div>'


def _cell(item: Mapping[str, Any], place: int | str, mark: str) -> str:
    title = f"{item.get('key', '')}"
    caption = str(place)
    if "score" in item:
        title += f", similarity {item['score']:.3f}"
    sign = '<span class="tick-mark" role="img" aria-label="right">✓</span>' if mark == "right" else ""
    return (
        f'<div class="cell {mark}" title="{escape(title)}">{media(item)}'
        f'<span class="place">{escape(caption)}</span>{sign}</div>'
    )


def _kind_of(rows: list[Mapping[str, Any]]) -> str:
    """What most candidates are, which decides how wide a cell is."""
    kinds = [item.get("kind", "none") for row in rows for item in row["found"]]
    return max(("image", "text", "audio", "video"), key=kinds.count)
