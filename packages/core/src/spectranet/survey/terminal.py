"""How does a survey read in a terminal of 80 columns?"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from spectranet.report.numbers import count, percent, short
from spectranet.survey.figures import Distribution, Figures, in_bytes
from spectranet.survey.mixture import Seen
from spectranet.survey.survey import SourceSurvey, Survey

__all__ = ["as_text"]

_WIDTH = 80
_REASONS = 5
_QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)


def as_text(survey: Survey) -> str:
    """All of it, without pictures; ends with a line break."""
    lines: list[str] = []
    for each in (*survey.sources, *survey.held_out):
        lines += [*_source(each), ""]
    if survey.seen is not None:
        lines += [*_mixture(survey.seen), ""]
    for warning in survey.warnings:
        lines += _wrapped(f"warning: {warning}", "  ")
    if survey.warnings:
        lines.append("")
    return "\n".join(lines)


def _source(survey: SourceSurvey) -> Iterator[str]:
    source, looks = survey.source, survey.looks
    yield from _wrapped(f"source {survey.name}: format {source.format}, path {survey.config.path}", "    ")
    parts = f" in {count(survey.parts)} parts" if survey.parts > 1 else ""
    size = survey.figures.mean_bytes() * len(source)
    about = f", about {in_bytes(size)}" if size else ""
    yield from _wrapped(
        f"  {count(len(source))} samples of {', '.join(source.modalities)}{parts}{about}", "    "
    )
    if survey.found:
        yield from _wrapped(f"  fields: {_fields(survey)}", "    ")
    for reason, number in source.dropped.items():
        yield from _wrapped(f"  left out: {count(number)} x {reason}", "    ")
    for part, reason in list(source.broken.items())[:_REASONS]:
        yield from _wrapped(f"  broken: {part}: {reason}", "    ")
    if looks.usable:
        whole = "all" if looks.rows == len(source) else "evenly spread"
        yield f"  of {count(len(looks.usable))} samples, {whole}:"
        yield from _figures(survey.figures, of_all=looks.rows == len(source))
    if looks.failed:
        share = percent(looks.failure_share)
        yield f"  cannot be used: {count(len(looks.failed))} of {count(looks.rows)} ({share})"
        for number, key, reason in survey.reasons[:_REASONS]:
            yield from _wrapped(f"    {number} x '{key}': {reason}", "      ")
        if (more := len(survey.reasons) - _REASONS) > 0:
            yield f"    and {more} other reason{'s' * (more > 1)}"


def _fields(survey: SourceSurvey) -> str:
    return ", ".join(
        name if number is None else f"{name} ({count(number)})" for name, number in survey.found.items()
    )


def _figures(figures: Figures, *, of_all: bool) -> Iterator[str]:
    names = ("least", "5 %", "median", "95 %", "most")
    varying = [each for each in figures.distributions if not each.is_constant]
    labels = [f"{each.modality} {each.title}" for each in varying]
    width = max(map(len, labels), default=0)
    rows = [_values(each) for each in varying]
    columns = [max(len(text) for text in column) for column in zip(names, *rows, strict=True)]
    if varying:
        yield "    " + " " * width + "".join(f"  {n:>{w}}" for n, w in zip(names, columns, strict=True))
    for label, row in zip(labels, rows, strict=True):
        yield f"    {label:<{width}}" + "".join(f"  {v:>{w}}" for v, w in zip(row, columns, strict=True))
    constant = [each for each in figures.distributions if each.is_constant]
    if constant:
        told = ", ".join(f"{each.modality} {each.title} {each.show(each.mean)}" for each in constant)
        yield from _wrapped(f"    the same in all: {told}", "      ")
    for share in figures.shares:
        if share.number:
            yield f"    {share.modality}: {_part(share.number, share.of)} {share.title}"
    for each in figures.duplicates:
        if each.number:
            often = f", the commonest {each.most} times" if each.most > 2 else ""
            bound = "" if of_all else "; in the whole source at least as many"
            line = f"    {each.modality}: {_part(each.number, each.of)} same as an earlier one{often}{bound}"
            yield from _wrapped(line, "      ")


def _values(each: Distribution) -> list[str]:
    return [each.show(each.quantile(share)) for share in _QUANTILES]


def _part(number: int, of: int) -> str:
    return f"{count(number)} of {count(of)} ({percent(number / of)})"


def _mixture(seen: Seen) -> Iterator[str]:
    samples = count(seen.steps * seen.global_batch)
    yield (
        f"the run  {count(seen.steps)} steps of {count(seen.global_batch)} samples "
        f"in {count(seen.slots)} slots of {count(seen.slot_size)}: {samples} samples"
    )
    rows = [("source", "share", "samples", "of", "epochs")]
    rows += [
        (each.source, percent(each.share), count(each.samples), count(each.size), short(each.epochs))
        for each in seen.portions
    ]
    yield from _table(rows)
    tokens = seen.tokens_per_step()
    if tokens:
        total = sum(tokens.values())
        told = ", ".join(f"{name} {short(n)} ({percent(n / total)})" for name, n in tokens.items())
        yield from _wrapped(f"  tokens a step, estimated: {told}", "    ")


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join([f"  {row[0]:<{widths[0]}}", *cells])


def _wrapped(line: str, indent: str) -> list[str]:
    """Long words, such as paths, go over the edge rather than in two."""
    return textwrap.wrap(
        line, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
