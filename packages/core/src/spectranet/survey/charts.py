"""How does a distribution look? Bars in inline SVG, coloured by the page's style sheet."""

from __future__ import annotations

import math
from html import escape

import numpy as np

from spectranet.report.numbers import count
from spectranet.survey.figures import Distribution

__all__ = ["histogram"]

WIDTH, HEIGHT = 270, 92
_BASE = HEIGHT - 20
_MOST_BARS = 30
_LOG_FROM = 30.0
"""Positive values that span more than this factor stand on a logarithmic axis."""


def histogram(each: Distribution) -> str:
    """A figure: title and median, the bars, and the ends of the axis below them. Its values must differ."""
    title = escape(f"{each.modality} {each.title}")
    log = each.values[0] > 0 and each.values[-1] / each.values[0] > _LOG_FROM
    note = ' <span class="note">log scale</span>' if log else ""
    median = escape(each.show(each.quantile(0.5)))
    low, high = escape(each.show(float(each.values[0]))), escape(each.show(float(each.values[-1])))
    label = f"{title}: {low} to {high}, median {median}"
    return (
        f'<figure class="chart"><figcaption><span class="name">{title}{note}</span>'
        f'<span class="last" title="median">{median}</span></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{_bars(each, log)}'
        f'<path class="axis" d="M0 {_BASE}H{WIDTH}"/>'
        f'<text class="tick" x="0" y="{HEIGHT - 5}">{low}</text>'
        f'<text class="tick" x="{WIDTH}" y="{HEIGHT - 5}" text-anchor="end">{high}</text>'
        "</svg></figure>"
    )


def _bars(each: Distribution, log: bool) -> str:
    edges = bar_edges(each.values, log)
    numbers, _ = np.histogram(each.values, edges)
    place = np.log(edges) if log else edges
    place = (place - place[0]) / (place[-1] - place[0]) * WIDTH
    parts = []
    for number, left, right, low, high in zip(
        numbers, place[:-1], place[1:], edges[:-1], edges[1:], strict=True
    ):
        if number == 0:
            continue
        height = max(1.5, (_BASE - 6) * number / numbers.max())
        between = f"{each.show(float(low))} to {each.show(float(high))}: {count(number)}"
        parts.append(
            f'<rect class="column" x="{left + 0.5:.1f}" y="{_BASE - height:.1f}" '
            f'width="{max(1.0, right - left - 1):.1f}" height="{height:.1f}">'
            f"<title>{escape(between)}</title></rect>"
        )
    return "".join(parts)


def bar_edges(values: np.ndarray, log: bool) -> np.ndarray:
    """Where the bars begin and end: a bar for each whole number where they are few, else even widths."""
    low, high = float(values[0]), float(values[-1])
    if log:
        return np.asarray(np.geomspace(low, high * (1 + 1e-9), _MOST_BARS + 1))
    whole = bool(np.all(values == np.floor(values)))
    if whole:
        step = math.ceil((high - low + 1) / _MOST_BARS)
        bars = math.ceil((high - low + 1) / step)
        return low + step * np.arange(bars + 1, dtype=np.float64) - 0.5
    return np.asarray(np.linspace(low, high, _MOST_BARS + 1))
