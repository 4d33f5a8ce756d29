"""What stands on the page, and in which order?"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from html import escape
from typing import TypeGuard

from spectranet.report.curves import Curve, draw
from spectranet.report.document import contents, document
from spectranet.report.events import events_section
from spectranet.report.failures import failures_section
from spectranet.report.gallery import gallery_section
from spectranet.report.numbers import count, duration, percent, short
from spectranet.report.records import RunRecords
from spectranet.report.retrieval import evaluation_section
from spectranet.report.watched import SHOWN, watched_sections

__all__ = ["page"]

# key: (title, unit, whether the axis starts at zero)
OVERALL = {
    "loss": ("loss, weighted sum", "", False),
    "grad_norm": ("norm of the gradient", "", False),
    "lr": ("learning rate", "", True),
    "samples_per_s": ("throughput", "samples/s", True),
}
_SHOWN_OTHERWISE = {*OVERALL, "seconds_per_step"}


def page(run: RunRecords) -> str:
    """The whole HTML of a run's report."""
    sections = {
        "Held-out data": evaluation_section(run),
        "Curves": _curve_sections(run),
        **watched_sections(run),
        "Events": events_section(run),
        "What it finds": gallery_section(run.gallery),
        "Samples that could not be used": failures_section(run),
        "Parameters": _parameters(run),
        "Further figures": _further_figures(run),
        "Configuration": _origin(run),
    }
    body = _headline(run) + contents(sections) + "".join(sections.values())
    return document(f"{run.name}: SpectraNet run", body)


def _headline(run: RunRecords) -> str:
    steps, planned = run.step, run.setting("train", "steps")
    tiles = [("steps", count(steps) + (f" of {count(planned)}" if _is_number(planned) else ""))]
    seconds = run.training_s()
    if seconds is not None:
        tiles.append(("training time", duration(seconds)))
    batch = run.setting("train", "global_batch")
    if _is_number(batch):
        tiles.append(("samples seen", count(steps * batch)))
    parameters = _counts(run)
    if parameters:
        tiles.append(("parameters", short(sum(parameters.values()))))
    losses = run.series("loss")
    if losses:
        step, loss = losses[-1]
        lost = any(record["step"] > step and "loss" in record for record in run.records)
        tiles.append((f"last finite loss, step {count(step)}" if lost else "last loss", short(loss)))
    utilisation = run.last("mfu")
    if utilisation is not None:
        tiles.append(("MFU", percent(utilisation)))
    shown = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in tiles)
    modalities = run.setting("modalities")
    what = ", ".join(sorted(modalities)) if isinstance(modalities, dict) else ""
    notes = "".join(f'<p class="warning">{escape(note)}</p>' for note in run.notes)
    about = f"SpectraNet run{' on ' + what if what else ''}{_dates(run)}"
    return (
        f'<header><h1>{escape(run.name)}</h1><p class="about">{escape(about)}</p>'
        f'<dl class="tiles">{shown}</dl>{notes}</header>'
    )


def _curve_sections(run: RunRecords) -> str:
    """The run as a whole, then a section for each objective with a curve for each of its terms."""
    overall = [
        Curve(key, title, run.series(key), unit, from_zero, gaps=run.gaps(key))
        for key, (title, unit, from_zero) in OVERALL.items()
        if key in run.names()
    ]
    sections = [("Training", overall)]
    objectives: dict[str, list[Curve]] = {}
    for key in run.names():
        if key.startswith("loss/"):
            objective, _, part = key[5:].partition(".")
            curve = Curve(key, part or objective, run.series(key), gaps=run.gaps(key))
            objectives.setdefault(objective, []).append(curve)
    sections += [
        (f"Loss of {name}", sorted(each, key=lambda c: c.key)) for name, each in sorted(objectives.items())
    ]
    shown = "".join(
        f'<section><h2>{escape(title)}</h2><div class="grid">{"".join(map(draw, curves))}</div></section>'
        for title, curves in sections
        if curves
    )
    return f'<div id="curves">{shown}</div>' if shown else ""


def _parameters(run: RunRecords) -> str:
    parts = _counts(run)
    total = sum(parts.values())
    if not total:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="n">{count(number)}</td>'
        f'<td class="n">{percent(number / total)}</td>'
        f'<td class="wide"><span class="bar"><b style="width:{100 * number / total:.2f}%"></b></span>'
        "</td></tr>"
        for name, number in parts.items()
    )
    return (
        '<section id="parameters"><h2>Parameters</h2><div class="scroll"><table><tr><th>part</th>'
        f'<th class="n">parameters</th><th class="n">share</th><th class="wide"></th></tr>{rows}'
        f'<tr class="total"><th scope="row">total</th><td class="n">{count(total)}</td><td></td>'
        '<td class="wide"></td></tr></table></div></section>'
    )


def _further_figures(run: RunRecords) -> str:
    """What objectives measure beside their losses, folded away."""
    elsewhere = ("loss/", "eval/", "failed/", "tried/", *SHOWN)
    keys = [k for k in run.names() if not k.startswith(elsewhere) and k not in _SHOWN_OTHERWISE]
    curves = [
        Curve(k, k.removeprefix("metric/"), run.series(k), gaps=run.gaps(k)) for k in keys if run.series(k)
    ]
    if not curves:
        return ""
    return (
        f'<details id="further"><summary>Further figures ({len(curves)})</summary>'
        f'<div class="grid">{"".join(map(draw, curves))}</div></details>'
    )


def _origin(run: RunRecords) -> str:
    """Plugins, versions and the configuration, folded away."""
    parts = []
    plugins = run.facts.get("plugins")
    if isinstance(plugins, list):
        names = [f"{p.get('distribution')} {p.get('version')}" for p in plugins if isinstance(p, dict)]
        parts.append(f"<p>Plugins: {escape(', '.join(names))}</p>")
    versions = run.facts.get("versions")
    if isinstance(versions, dict):
        names = [f"{name} {version}" for name, version in versions.items()]
        ranks = run.facts.get("ranks")
        names += [f"{ranks} ranks" if ranks != 1 else "1 rank"] if _is_number(ranks) else []
        parts.append(f"<p>Versions: {escape(', '.join(names))}</p>")
    config = run.facts.get("config")
    if config:
        text = json.dumps(config, indent=2, ensure_ascii=False)
        parts.append(f'<pre tabindex="0">{escape(text)}</pre>')
    return (
        f'<details id="configuration"><summary>Configuration and versions</summary>{"".join(parts)}</details>'
        if parts
        else ""
    )


def _dates(run: RunRecords) -> str:
    """`` · started 2026-11-22 05:56 UTC``, and the time of the last record."""
    first = next((event["time"] for event in run.events if event["kind"] == "start"), None)
    moments = (("started", first or run.facts.get("started")), ("last record", run.records[-1].get("time")))
    found = []
    for name, seconds in moments:
        if _is_number(seconds):
            try:
                found.append(f" · {name} {datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC")
            except (OverflowError, OSError, ValueError):
                continue  # a clock that was never set
    return "".join(found)


def _counts(run: RunRecords) -> dict[str, int]:
    parts = run.facts.get("parameters")
    return {k: int(v) for k, v in parts.items() if _is_number(v)} if isinstance(parts, dict) else {}


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
