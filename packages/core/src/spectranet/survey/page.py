"""How does a survey look as one HTML file?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from spectranet.report.document import contents, document
from spectranet.report.media import media
from spectranet.report.numbers import count, percent, short
from spectranet.survey.charts import histogram
from spectranet.survey.figures import in_bytes
from spectranet.survey.mixture import Seen
from spectranet.survey.sheet import DRAWS, Card, Item
from spectranet.survey.survey import SourceSurvey, Survey

__all__ = ["survey_page"]


def survey_page(survey: Survey) -> str:
    """The whole HTML."""
    sections = {"The run": _run(survey.seen) if survey.seen else ""}
    for number, each in enumerate([*survey.sources, *survey.held_out]):
        sections[each.name] = _source(each, f"source-{number}")
    body = _headline(survey) + contents(sections) + "".join(sections.values())
    style = files("spectranet.survey").joinpath("style.css").read_text(encoding="utf-8")
    names = ", ".join(each.source.name for each in survey.sources)
    return document(f"{names}: SpectraNet data", body, style)


def _headline(survey: Survey) -> str:
    sources = survey.sources
    size = sum(each.figures.mean_bytes() * len(each.source) for each in sources)
    tiles = {
        "sources": count(len(sources)),
        "samples": count(sum(len(each.source) for each in sources)),
        "size, estimated": in_bytes(size),
        "looked at": count(sum(each.looks.rows for each in sources)),
        "cannot be used": count(sum(len(each.looks.failed) for each in sources)),
    }
    shown = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in tiles.items()
    )
    warnings = "".join(f"<li>{escape(line)}</li>" for line in survey.warnings)
    return (
        '<header><h1>Training data</h1><p class="about">What spectranet data inspect found in a sample '
        f'spread evenly over each source, in {survey.seconds:.1f} s</p><dl class="tiles">{shown}</dl>'
        + (f'<ul class="warnings">{warnings}</ul>' if warnings else "")
        + "</header>"
    )


def _run(seen: Seen) -> str:
    rows = [
        (
            each.source,
            percent(each.share),
            _bar(each.share),
            count(each.samples),
            count(each.size),
            short(each.epochs),
        )
        for each in seen.portions
    ]
    tokens = seen.tokens_per_step()
    total = sum(tokens.values())
    stack = "".join(
        f'<b style="flex:{n / total:.4f} 1 0" title="{escape(name)}: {count(n)} tokens a step">'
        f"{escape(name)} {percent(n / total)}</b>"
        for name, n in tokens.items()
    )
    legend = "".join(f" · {escape(name)} {count(n)}" for name, n in tokens.items())
    return (
        '<section id="the-run"><h2>What the run sees '
        f"<small>{count(seen.steps)} steps of {count(seen.global_batch)} samples, "
        f"in {count(seen.slots)} slots of {count(seen.slot_size)} samples of one source</small></h2>"
        + _table(("source", "share", "", "samples", "of", "epochs"), rows)
        + (
            f'<div class="stack">{stack}</div><p class="legend">tokens a step, estimated: {count(total)}'
            f"{legend}</p>"
            if tokens
            else ""
        )
        + "</section>"
    )


def _source(survey: SourceSurvey, identity: str) -> str:
    source, looks = survey.source, survey.looks
    parts = f" in {count(survey.parts)} parts" if survey.parts > 1 else ""
    whole = "all of them" if looks.rows == len(source) else "spread evenly"
    where = " and ".join(
        f"{column} = {values if isinstance(values, str) else ' or '.join(values)}"
        for column, values in survey.config.where.items()
    )
    return (
        f'<section id="{identity}"><h2>{escape(survey.name)} <small>{count(len(source))} samples of '
        f"{escape(', '.join(source.modalities))}{parts}</small></h2>"
        f'<p class="from">format {escape(source.format)}, path {escape(survey.config.path)}'
        f"{escape(f', where {where}') if where else ''}</p>"
        f"{_fields(survey)}{_left_out(survey)}"
        f"<h3>Figures <small>of {count(len(looks.usable))} samples, {whole}; "
        "the median is in bold</small></h3>"
        f"{_distributions(survey)}{_observed(survey)}{_failures(survey)}{_sheet(survey)}</section>"
    )


def _fields(survey: SourceSurvey) -> str:
    if not survey.found:
        return ""
    used = {name: modality for modality, names in survey.source.fields.items() for name in names}
    rows = [
        (name, "" if number is None else count(number), used.get(name, ""))
        for name, number in survey.found.items()
    ]
    return (
        f"<details><summary>{count(len(rows))} fields found</summary>"
        + _table(("field", "rows that have it", "read as"), rows, left=(0, 2))
        + "</details>"
    )


def _left_out(survey: SourceSurvey) -> str:
    rows = [(reason, count(number)) for reason, number in survey.source.dropped.items()]
    broken = [(f"{part}: {reason}", "") for part, reason in survey.source.broken.items()]
    html = f"<h3>Left out</h3>{_table(('why', 'how many'), rows)}" if rows else ""
    return html + (f"<h3>Broken parts</h3>{_table(('part', ''), broken)}" if broken else "")


def _distributions(survey: SourceSurvey) -> str:
    """Charts of what varies, a line for what does not."""
    varying = [each for each in survey.figures.distributions if not each.is_constant]
    constant = [each for each in survey.figures.distributions if each.is_constant]
    same = ", ".join(f"{each.modality} {each.title} {each.show(float(each.values[0]))}" for each in constant)
    return (f'<div class="grid">{"".join(map(histogram, varying))}</div>' if varying else "") + (
        f'<p class="legend">the same in all: {escape(same)}</p>' if same else ""
    )


def _observed(survey: SourceSurvey) -> str:
    """Shares and duplicates that are not zero."""
    whole = survey.looks.rows == len(survey.source)
    bound = "" if whole else "; in the whole source at least as many"
    rows = [
        (f"{each.modality} {each.title}", count(each.number), percent(each.number / each.of))
        for each in survey.figures.shares
        if each.number
    ]
    rows += [
        (
            f"{each.modality} same as an earlier one"
            + (f" (up to {each.most} times)" if each.most > 2 else "")
            + bound,
            count(each.number),
            percent(each.number / each.of),
        )
        for each in survey.figures.duplicates
        if each.number
    ]
    return f"<h3>Observed</h3>{_table(('what', 'samples', 'share'), rows)}" if rows else ""


def _failures(survey: SourceSurvey) -> str:
    if not survey.looks.failed:
        return ""
    rows = [(reason, key, count(number)) for number, key, reason in survey.reasons]
    return (
        f"<h3>Cannot be used <small>{count(len(survey.looks.failed))} of {count(survey.looks.rows)} samples, "
        f"{percent(survey.looks.failure_share)}; a run puts others in their place</small></h3>"
        + _table(("why", "for example", "samples"), rows, left=(0, 1))
    )


def _sheet(survey: SourceSurvey) -> str:
    if not survey.cards:
        return ""
    cards = "".join(map(_card, survey.cards))
    return (
        f"<h3>What the model sees <small>each sample as stored, and as {DRAWS} epochs draw it; "
        f'<span class="veil"></span> hidden from the encoders</small></h3><div class="cards">{cards}</div>'
    )


def _card(card: Card) -> str:
    lines = "".join(
        f'<div class="line"><div class="stored"><h4>{escape(name)}, as stored</h4>'
        f"{media(card.stored[name])}</div>"
        f'<div class="draws of-{_kind(draws)}">{"".join(_draw(*each) for each in draws)}</div></div>'
        for name, draws in card.draws.items()
    )
    return f'<div class="card"><p class="key">{escape(card.key)}</p>{lines}</div>'


def _draw(items: Sequence[Item], said: str) -> str:
    return (
        f'<figure class="draw">{"".join(map(media, items))}<figcaption>{escape(said)}</figcaption></figure>'
    )


def _kind(draws: Sequence[tuple[Sequence[Item], str]]) -> str:
    return "text" if draws[0][0] and draws[0][0][0]["kind"] in ("pieces", "none") else "media"


def _bar(share: float) -> str:
    return f'<span class="bar"><b style="width:{100 * min(1.0, share):.2f}%"></b></span>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Columns in ``left`` are text, the others numbers; a cell that is a bar is HTML already."""

    def cell(i: int, text: str) -> str:
        if text.startswith('<span class="bar">'):
            return f'<td class="wide">{text}</td>'
        return f"<td>{escape(text)}</td>" if i in left else f'<td class="n">{escape(text)}</td>'

    heads = "".join(f"<th>{h}</th>" if i in left else f'<th class="n">{h}</th>' for i, h in enumerate(head))
    body = "".join(f"<tr>{''.join(cell(i, text) for i, text in enumerate(row))}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{heads}</tr>{body}</table></div>'
