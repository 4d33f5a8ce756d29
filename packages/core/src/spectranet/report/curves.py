"""How does a curve look? Inline SVG, coloured by the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from itertools import pairwise

from spectranet.report.numbers import linear_ticks, log_ticks, short
from spectranet.report.records import Point
from spectranet.train.watch.figures import meaning

__all__ = ["Curve", "Frame", "binned", "draw", "draw_together", "grid", "smoothed"]

WIDTH, HEIGHT = 290, 164
LEFT, RIGHT, TOP, BOTTOM = 50, 10, 8, 24
_MOST_RAW = 500
_MOST_LINE = 240
_MOST_HITS = 48
_COLOURS = 8
_LOG_FROM = 30.0
"""A positive figure that spans more than this factor is drawn on a logarithmic axis."""


@dataclass(frozen=True)
class Curve:
    """One figure over the steps of a run.

    Attributes:
        key: as in ``metrics.jsonl``.
        title: what stands above it.
        unit: follows the last value; empty for plain numbers.
        from_zero: the axis starts at zero, and is never logarithmic.
        show: how a value reads.
        gaps: values that were not finite and are not drawn.
    """

    key: str
    title: str
    points: Sequence[Point]
    unit: str = ""
    from_zero: bool = False
    show: Callable[[float], str] = field(default=short)
    gaps: int = 0


def draw(curve: Curve) -> str:
    """A figure: title and last value, the smoothed line, the raw points faintly behind it."""
    if not curve.points:
        return _without_points(curve)
    last_step, last = curve.points[-1]
    unit = f" {curve.unit}" if curve.unit else ""
    log = _is_log(curve)
    frame = Frame.around(curve.points, log, curve.from_zero)
    line = smoothed(binned(curve.points, _MOST_LINE))
    label = f"{curve.key}: last value {curve.show(last)}{unit} at step {last_step}"
    notes = ["log scale"] if log else []
    if curve.gaps:
        notes.append(f"{curve.gaps} not finite")
    note = f' <span class="note">{", ".join(notes)}</span>' if notes else ""
    return (
        f'<figure class="chart"><figcaption title="{escape(meaning(curve.key) or curve.key)}">'
        f'<span class="name">{escape(curve.title)}{note}</span>'
        f'<span class="last">{escape(curve.show(last) + unit)}</span></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
        f"{grid(frame, curve.show)}{_raw(curve.points, frame)}{_line(line, frame)}"
        f"{_hits(binned(curve.points, _MOST_HITS), frame, curve, unit)}</svg></figure>"
    )


def draw_together(title: str, curves: Sequence[Curve]) -> str:
    """Several figures of one kind on one pair of axes, each with its colour, its name and its last value.

    The first says unit, axis and how values read. The legend stands above the picture, never over it.
    """
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return ""
    first = curves[0]
    points = [point for curve in curves for point in curve.points]
    log = _is_log(replace(first, points=points))
    frame = Frame.around(sorted(points), log, first.from_zero)
    unit = f" {first.unit}" if first.unit else ""
    lines, names = [], []
    for index, curve in enumerate(curves):
        last = first.show(curve.points[-1][1]) + unit
        lines.append(
            f'<g class="c{index % _COLOURS}">{_line(smoothed(binned(curve.points, _MOST_LINE)), frame)}</g>'
        )
        names.append(
            f'<li class="c{index % _COLOURS}"><i></i>{escape(curve.title)} <b>{escape(last)}</b></li>'
        )
    note = ' <span class="note">log scale</span>' if log else ""
    label = escape(f"{title}: " + ", ".join(curve.title for curve in curves))
    return (
        f'<figure class="chart"><figcaption title="{escape(meaning(first.key) or title)}">'
        f'<span class="name">{escape(title)}{note}</span></figcaption>'
        f'<ul class="keys">{"".join(names)}</ul><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{label}">{grid(frame, first.show)}{"".join(lines)}'
        f"{_hits_together(curves, frame, unit)}</svg></figure>"
    )


def binned(points: Sequence[Point], most: int) -> list[Point]:
    """At most ``most`` points: means of neighbours, in order; all of them if they are few."""
    if len(points) <= most:
        return list(points)
    edges = [i * len(points) // most for i in range(most + 1)]
    groups = [points[a:b] for a, b in pairwise(edges)]
    return [(group[-1][0], math.fsum(v for _, v in group) / len(group)) for group in groups]


def smoothed(points: Sequence[Point]) -> list[Point]:
    """A Gaussian mean over about 2 % of the points to either side; short curves stay as they are.

    Near the ends a point is averaged with as many on its left as on its right, so that the first
    and the last value are those that were logged, and no slope is bent.
    """
    sigma = len(points) / 50
    if len(points) < 20:
        return list(points)
    reach = math.ceil(3 * sigma)
    found = []
    for i, (step, _) in enumerate(points):
        r = min(reach, i, len(points) - 1 - i)
        weights = [math.exp(-0.5 * (d / sigma) ** 2) for d in range(-r, r + 1)]
        values = [v for _, v in points[i - r : i + r + 1]]
        found.append((step, sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)))
    return found


@dataclass(frozen=True)
class Frame:
    """From steps and values to the picture."""

    first: float
    last: float
    low: float
    high: float
    log: bool

    @classmethod
    def around(cls, points: Sequence[Point], log: bool, from_zero: bool) -> Frame:
        values = [value for _, value in points]
        low, high = min(values), max(values)
        if log:
            pad = (high / low) ** 0.04
            low, high = low / pad, high * pad
        else:
            low = min(0.0, low) if from_zero else low
            # A constant needs room too, and near zero its size says nothing.
            pad = 0.06 * (high - low) if high - low > 1e-9 * abs(high) else 0.5 * abs(high) or 1.0
            low, high = (low if from_zero and low == 0 else low - pad), high + pad
        first, last = points[0][0], points[-1][0]
        first = 0 if first <= 0.1 * last else first
        return cls(first, last if last > first else first + 1, low, high, log)

    def x(self, step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (step - self.first) / (self.last - self.first)

    def y(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)


def _is_log(curve: Curve) -> bool:
    values = [value for _, value in curve.points]
    return not curve.from_zero and min(values) > 0 and max(values) / min(values) > _LOG_FROM


def grid(frame: Frame, show: Callable[[float], str]) -> str:
    parts = []
    for value in (log_ticks if frame.log else linear_ticks)(frame.low, frame.high):
        y = frame.y(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{show(value)}</text>'
        )
    bottom = HEIGHT - BOTTOM
    parts.append(f'<path class="axis" d="M{LEFT} {bottom}H{WIDTH - RIGHT}"/>')
    parts.append(f'<text class="tick" x="{LEFT - 10}" y="{HEIGHT - 7}" text-anchor="end">step</text>')
    for step in linear_ticks(frame.first, frame.last):
        if step == int(step):
            x = frame.x(step)
            anchor, end = ("end", WIDTH - 1) if x > WIDTH - 24 else ("middle", x)
            parts.append(f'<path class="axis" d="M{x:.1f} {bottom}v4"/>')
            place = f'x="{end:.1f}" y="{HEIGHT - 7}" text-anchor="{anchor}"'
            parts.append(f'<text class="tick" {place}>{short(step)}</text>')
    return "".join(parts)


def _raw(points: Sequence[Point], frame: Frame) -> str:
    """Dots, as strokes of no length with round caps."""
    every = math.ceil(len(points) / _MOST_RAW)
    dots = "".join(f"M{frame.x(s):.1f} {frame.y(v):.1f}h0" for s, v in points[::every])
    return f'<path class="raw" d="{dots}"/>'


def _line(points: Sequence[Point], frame: Frame) -> str:
    places = "L".join(f"{frame.x(s):.1f} {frame.y(v):.1f}" for s, v in points)
    step, value = points[-1]
    end = f'<circle class="end" cx="{frame.x(step):.1f}" cy="{frame.y(value):.1f}" r="3"/>'
    return f'<path class="line" d="M{places}"/>{end}'


def _hits(points: Sequence[Point], frame: Frame, curve: Curve, unit: str) -> str:
    """A column around each point that tells its value when the pointer is on it."""
    xs = [frame.x(step) for step, _ in points]
    edges = [LEFT, *((a + b) / 2 for a, b in pairwise(xs)), WIDTH - RIGHT]
    parts = []
    for i, (step, value) in enumerate(points):
        title = escape(f"step {step}: {curve.show(value)}{unit}")
        parts.append(
            f'<g class="hit"><title>{title}</title><rect x="{edges[i]:.1f}" y="{TOP}" '
            f'width="{max(0.5, edges[i + 1] - edges[i]):.1f}" height="{HEIGHT - TOP - BOTTOM}"/>'
            f'<circle cx="{xs[i]:.1f}" cy="{frame.y(value):.1f}" r="3.5"/></g>'
        )
    return "".join(parts)


def _hits_together(curves: Sequence[Curve], frame: Frame, unit: str) -> str:
    """A column at some of the steps that tells all values there when the pointer is on it."""
    values = [dict(curve.points) for curve in curves]
    steps = sorted(set().union(*values))
    steps = steps[:: math.ceil(len(steps) / _MOST_HITS)]
    xs = [frame.x(step) for step in steps]
    edges = [LEFT, *((a + b) / 2 for a, b in pairwise(xs)), WIDTH - RIGHT]
    parts = []
    for i, step in enumerate(steps):
        told = [
            f"{curve.title} {curves[0].show(known[step])}{unit}"
            for curve, known in zip(curves, values, strict=True)
            if step in known
        ]
        parts.append(
            f'<g class="hit"><title>{escape(f"step {step}: " + ", ".join(told))}</title>'
            f'<rect x="{edges[i]:.1f}" y="{TOP}" width="{max(0.5, edges[i + 1] - edges[i]):.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}"/></g>'
        )
    return "".join(parts)


def _without_points(curve: Curve) -> str:
    return (
        f'<figure class="chart"><figcaption><span class="name">{escape(curve.title)}</span></figcaption>'
        f'<p class="empty">no finite value ({curve.gaps} logged)</p></figure>'
    )
