"""How did a run fare, part by part: modalities, gradients, speed, memory, embeddings?"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from html import escape

from spectranet.report.curves import Curve, draw, draw_together
from spectranet.report.numbers import percent_short, short
from spectranet.report.records import RunRecords

__all__ = ["SHOWN", "watched_sections"]

SHOWN = (
    "modality/",
    "grad_norm/",
    "source/",
    "embedding/",
    "similarity/",
    "mfu",
    "tflops_per_device",
    "tokens_per_s",
    "tokens_per_step",
    "data_wait_share",
    "padding_share",
    "memory_peak_gib",
    "disk_free_gib",
)
"""What figures of these sections begin with."""


def watched_sections(run: RunRecords) -> dict[str, str]:
    """Title -> HTML; empty where a run has logged nothing of the kind."""
    return {
        "Modalities": _modalities(run),
        "Gradient": _gradient(run),
        "Speed": _speed(run),
        "Embeddings": _embeddings(run),
    }


def _modalities(run: RunRecords) -> str:
    charts = [
        _together(run, "loss, by modality", r"modality/(.+)/loss"),
        _together(
            run, "share of the tokens", r"modality/(.+)/token_share", show=percent_short, from_zero=True
        ),
        _together(
            run, "padding, of the places", r"modality/(.+)/padding_share", show=percent_short, from_zero=True
        ),
        _together(
            run, "hidden, of the tokens", r"modality/(.+)/hidden_share", show=percent_short, from_zero=True
        ),
    ]
    return _section("modalities", "Modalities", charts)


def _gradient(run: RunRecords) -> str:
    """Without the zeros of parts that a step did not use, which a logarithm has no place for."""
    named = sorted(key for key in run.names() if key.startswith("grad_norm/"))
    used = [(key, [point for point in run.series(key) if point[1] > 0]) for key in named]
    curves = [Curve(key, key.removeprefix("grad_norm/"), points) for key, points in used]
    return _section("gradient", "Gradient", [draw_together("norm of the gradient, by part", curves)])


def _speed(run: RunRecords) -> str:
    waits = [
        Curve(key, title, run.series(key), from_zero=True, show=percent_short)
        for key, title in (("data_wait_share", "mean"), ("data_wait_share_worst", "worst rank"))
    ]
    if waits[0].points == waits[1].points:
        waits = waits[:1]  # one rank
    charts = [
        _alone(run, "mfu", "model FLOPs utilisation (MFU)", show=percent_short),
        _alone(run, "tflops_per_device", "useful FLOPs, a device", "TFLOP/s"),
        _alone(run, "tokens_per_s", "tokens without padding", "tokens/s"),
        draw_together("time spent waiting for data", waits),
        _together(
            run, "a micro-batch, by source", r"source/(.+)/seconds_per_micro_batch", "s", from_zero=True
        ),
        _together(
            run, "share of the time, by source", r"source/(.+)/time_share", show=percent_short, from_zero=True
        ),
        _alone(run, "memory_peak_gib", "peak memory", "GiB"),
        _alone(run, "disk_free_gib", "free on the run's disk", "GiB"),
    ]
    return _section("speed", "Speed and memory", charts)


def _embeddings(run: RunRecords) -> str:
    """Variance first: what has collapsed is lost, whatever its loss says."""
    charts = [
        _together(run, "variance", r"embedding/(.+)/variance", from_zero=True),
        _together(run, "effective rank", r"embedding/(.+)/rank", from_zero=True),
        _together(run, "cosine of a pair", r"similarity/(.+)/positive"),
        _together(run, "cosine of strangers", r"similarity/(.+)/negative"),
        _together(run, "found first in the batch", r"metric/(.+)/R@1", show=percent_short, from_zero=True),
        _together(run, "scale of the logits", r"metric/(.+)/scale", from_zero=True),
    ]
    about = (
        '<p class="legend">Variance is 1 where unit vectors point everywhere and 0 where all point the same '
        "way: collapsed.</p>"
    )
    return _section("embeddings", "Embeddings", charts, about)


def _together(
    run: RunRecords,
    title: str,
    pattern: str,
    unit: str = "",
    show: Callable[[float], str] = short,
    from_zero: bool = False,
) -> str:
    """One chart of all figures whose names match; the group is what they are called in it."""
    named = [(key, match[1]) for key in run.names() if (match := re.fullmatch(pattern, key))]
    curves = [Curve(key, name, run.series(key), unit, from_zero, show) for key, name in sorted(named)]
    return draw_together(title, curves)


def _alone(
    run: RunRecords, key: str, title: str, unit: str = "", show: Callable[[float], str] = short
) -> str:
    points = run.series(key)
    return draw(Curve(key, title, points, unit, from_zero=True, show=show)) if points else ""


def _section(identity: str, title: str, charts: Sequence[str], about: str = "") -> str:
    shown = "".join(charts)
    if not shown:
        return ""
    return (
        f'<section id="{identity}"><h2>{escape(title)}</h2>{about}<div class="grid">{shown}</div></section>'
    )
