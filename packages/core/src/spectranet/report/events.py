"""What happened to a run, and when?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any

from spectranet.report.curves import BOTTOM, TOP
from spectranet.report.numbers import count, duration, linear_ticks, short
from spectranet.report.records import RunRecords

__all__ = ["events_section"]

_KINDS = {
    "start": "started",
    "resume": "went on",
    "checkpoint": "checkpoint",
    "skipped": "skipped step",
    "rollback": "rolled back",
    "warning": "warning",
    "stop": "stopped",
    "end": "done",
}
_WIDTH, _HEIGHT, _LEFT, _RIGHT = 620, 190, 52, 14
_MOST_LISTED = 60
_MOST_DRAWN = 500
_MOST_TOLD = 300
_UNITS_S = (86400.0, 3600.0, 60.0, 1.0)


def events_section(run: RunRecords) -> str:
    """Steps over time with a sign for each event, and the last events in words; empty without events."""
    events = [e for e in run.events if _is_moment(e["time"])]
    if not events:
        return ""
    numbers = Counter(str(event["kind"]) for event in events)
    keys = "".join(
        f'<li class="k-{_sign(kind)}"><i></i>{escape(_KINDS.get(kind, kind))} <b>{count(number)}</b></li>'
        for kind, number in numbers.items()
    )
    told = [event for event in events if event["kind"] != "checkpoint"]
    rows = "".join(map(_row, reversed(told[-_MOST_LISTED:])))
    cut = (
        f"The last {_MOST_LISTED} of {count(len(told))}; all:" if len(told) > _MOST_LISTED else "All of them:"
    )
    return (
        '<section id="events"><h2>Events</h2><figure class="chart steps"><figcaption>'
        f'<span class="name">steps done, over time</span></figcaption><ul class="keys">{keys}</ul>'
        f'{_picture(run, events)}</figure><p class="legend">{cut} <code>events.jsonl</code>.</p>'
        '<div class="scroll"><table class="events"><tr><th>when (UTC)</th><th class="n">step</th>'
        f"<th>what</th></tr>{rows}</table></div></section>"
    )


def _is_moment(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _row(event: dict[str, Any]) -> str:
    kind = str(event["kind"])
    try:
        when = f"{datetime.fromtimestamp(event['time'], UTC):%m-%d %H:%M:%S}"
    except (OverflowError, OSError, ValueError):
        when = "–"  # a clock that was never set
    told = str(event["text"])
    told = told if len(told) <= _MOST_TOLD else told[:_MOST_TOLD].rstrip() + " …"
    text = escape(told).replace("\n", "<br>")
    return (
        f'<tr class="k-{_sign(kind)}"><td class="n">{when}</td><td class="n">{count(event["step"])}</td>'
        f'<td title="{escape(_KINDS.get(kind, kind))}"><i></i>{text}</td></tr>'
    )


@dataclass(frozen=True)
class _Frame:
    """From moments and steps to the picture."""

    first: float
    span: float
    most: int

    def x(self, moment: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (moment - self.first) / self.span

    def y(self, step: float) -> float:
        return TOP + (_HEIGHT - TOP - BOTTOM) * (1 - step / self.most)


def _picture(run: RunRecords, events: Sequence[dict[str, Any]]) -> str:
    """The steps of the records as a line that stands still while nobody runs, and the events on it."""
    line = [(r["time"], r["step"]) for r in run.records if _is_moment(r.get("time"))]
    everything = sorted([*line, *((event["time"], event["step"]) for event in events)])
    first, last = everything[0][0], everything[-1][0]
    frame = _Frame(first, max(last - first, 1.0), max(1, *(step for _, step in everything)))
    began = [(event["time"], event["step"]) for event in events if event["kind"] in ("start", "resume")]
    parts = [_axes(frame)]
    for place, end in zip(
        [(-math.inf, 0), *began], [*(moment for moment, _ in began), math.inf], strict=True
    ):
        stretch = [each for each in line if place[0] <= each[0] < end]
        stretch = [place, *stretch] if place in began else stretch
        every = max(1, len(stretch) // _MOST_DRAWN)
        some = [*stretch[:-1:every], *stretch[-1:]]
        places = "L".join(f"{frame.x(moment):.1f} {frame.y(step):.1f}" for moment, step in some)
        parts.append(f'<path class="line" d="M{places}"/>' if places else "")
    for event in events[:: math.ceil(len(events) / _MOST_DRAWN)]:
        kind = str(event["kind"])
        x, y, size = frame.x(event["time"]), frame.y(event["step"]), 3 if kind == "checkpoint" else 5
        title = escape(f"step {event['step']}: {_KINDS.get(kind, kind)}")
        parts.append(
            f'<g class="k-{_sign(kind)}"><title>{title}</title>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}"/></g>'
        )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="steps over time">'
        f"{''.join(parts)}</svg>"
    )


def _axes(frame: _Frame) -> str:
    parts, bottom, right = [], _HEIGHT - BOTTOM, _WIDTH - _RIGHT
    for step in linear_ticks(0, frame.most):
        y = frame.y(step)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>')
        parts.append(
            f'<text class="tick" x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{short(step)}</text>'
        )
    parts.append(f'<path class="axis" d="M{_LEFT} {bottom}H{right}"/>')
    unit = next(size for size in _UNITS_S if frame.span >= 2 * size or size == _UNITS_S[-1])
    for tick in linear_ticks(0, frame.span / unit, 6):
        x = frame.x(frame.first + tick * unit)
        anchor, text = "end" if x > right - 26 else "middle", duration(tick * unit) if tick else "0"
        parts.append(f'<path class="axis" d="M{x:.1f} {bottom}v4"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{_HEIGHT - 7}" text-anchor="{anchor}">{text}</text>')
    return "".join(parts)


def _sign(kind: str) -> str:
    return kind if kind in _KINDS else "other"
