"""How are the evaluations shown: a table of the last one, and curves if there are several?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape

from spectranet.report.curves import Curve, draw
from spectranet.report.numbers import count, percent, percent_short, short
from spectranet.report.records import RunRecords

__all__ = ["evaluation_section", "recall_names"]

_RECALL = re.compile(r"R@(\d+)$")


@dataclass(frozen=True)
class Direction:
    """What one evaluation says of ``{source}/{a}-{b}``."""

    source: str
    pair: str
    figures: dict[str, float]

    @property
    def name(self) -> str:
        return f"{self.source}/{self.pair}"

    @property
    def reads(self) -> str:
        """``image → text``."""
        a, _, b = self.pair.partition("-")
        return f"{a} → {b}"


def evaluation_section(run: RunRecords) -> str:
    """Everything that was measured on held-out data; empty if nothing was."""
    evaluations = run.evaluations()
    if not evaluations:
        return ""
    step, figures = evaluations[-1]
    directions, others = split(figures)
    parts = [f'<section id="evaluation"><h2>Held-out data <small>after step {count(step)}</small></h2>']
    if directions:
        parts.append(_table(directions))
        parts.append(
            '<p class="legend">R@k: share of the queries with a right candidate among the first k. '
            '<span class="key-bar"></span> R@1, <span class="key-chance"></span> a blind guess.</p>'
        )
    if len(evaluations) > 1:
        parts.append(_curves(run, directions, others))
    if others:
        rows = "".join(
            f'<tr><th scope="row">{escape(name)}</th><td class="n">{short(value)}</td></tr>'
            for name, value in others.items()
        )
        parts.append(
            f'<div class="scroll"><table><tr><th>figure</th><th class="n">value</th></tr>{rows}</table></div>'
        )
    return "".join(parts) + "</section>"


def split(figures: dict[str, float]) -> tuple[list[Direction], dict[str, float]]:
    """Directions of retrieval, and the figures that belong to none."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    others: dict[str, float] = {}
    with_recall = {name.rpartition("/")[0] for name in figures if _RECALL.search(name)}
    for name, value in figures.items():
        group, _, figure = name.rpartition("/")
        if group in with_recall:
            source, _, pair = group.rpartition("/")
            found.setdefault((source, pair), {})[figure] = value
        else:
            others[name] = value
    return [Direction(source, pair, values) for (source, pair), values in sorted(found.items())], others


def recall_names(directions: list[Direction]) -> list[str]:
    """``["R@1", "R@5"]``: all that occur, by k."""
    names = {name for each in directions for name in each.figures if _RECALL.match(name)}
    return sorted(names, key=lambda name: int(name[2:]))


def _table(directions: list[Direction]) -> str:
    recalls = recall_names(directions)
    first, others = recalls[0], recalls[1:]
    head = "".join(
        f'<th class="n">{escape(text)}</th>' for text in (*others, "chance", "candidates", "median rank")
    )
    rows = []
    for each in directions:
        values = [_share(each.figures.get(name)) for name in (*others, "chance")]
        values += [_number(each.figures.get(name)) for name in ("candidates", "median_rank")]
        cells = "".join(f'<td class="n">{value}</td>' for value in values)
        rows.append(
            f'<tr><th scope="row"><span class="pair">{escape(each.reads)}</span> '
            f"<small>{escape(each.source)}</small></th>"
            f'<td class="n strong">{_share(each.figures.get(first))}</td>'
            f'<td class="wide">{_bar(each.figures.get(first), each.figures.get("chance"))}</td>{cells}</tr>'
        )
    return (
        f'<div class="scroll"><table class="retrieval"><tr><th>query → found</th><th class="n">{first}</th>'
        f'<th class="wide"></th>{head}</tr>{"".join(rows)}</table></div>'
    )


def _curves(run: RunRecords, directions: list[Direction], others: dict[str, float]) -> str:
    curves = []
    for each in directions:
        for name in recall_names([each])[:1]:
            points = run.series(f"eval/{each.name}/{name}")
            title = f"{each.reads}, {each.source}: {name}"
            curves.append(
                Curve(f"eval/{each.name}/{name}", title, points, from_zero=True, show=percent_short)
            )
    for name in others:
        curves.append(Curve(f"eval/{name}", name, run.series(f"eval/{name}")))
    return f'<div class="grid">{"".join(map(draw, curves))}</div>'


def _bar(share: float | None, chance: float | None) -> str:
    if share is None:
        return ""
    mark = "" if chance is None else f'<i style="left:{100 * _clipped(chance):.2f}%"></i>'
    return f'<span class="bar"><b style="width:{100 * _clipped(share):.2f}%"></b>{mark}</span>'


def _clipped(share: float) -> float:
    return min(1.0, max(0.0, share))


def _share(value: float | None) -> str:
    return "–" if value is None else percent(value)


def _number(value: float | None) -> str:
    return "–" if value is None else (count(value) if value == int(value) else f"{value:,.1f}")
