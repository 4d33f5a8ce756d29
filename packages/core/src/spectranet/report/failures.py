"""Which samples could a run not use? A table of the sources that had such, with the commonest reasons."""

from __future__ import annotations

from html import escape

from spectranet.data.failures import Skipped, ranked, tally
from spectranet.report.numbers import count, percent
from spectranet.report.records import RunRecords

__all__ = ["failures_section"]

_REASONS = 3


def failures_section(run: RunRecords) -> str:
    """A row for each source of which a sample failed, by ``failed/…`` and ``tried/…`` of the records."""
    names = [key.removeprefix("failed/") for key in run.names() if key.startswith("failed/")]
    rows = "".join(_row(run, name) for name in names)
    if not rows:
        return ""
    return (
        '<section id="failures"><h2>Samples that could not be used</h2>'
        '<p class="legend">Others took their place. All that are listed: <code>failures/</code> '
        'in the run directory.</p><div class="scroll"><table><tr><th>source</th><th class="n">tried</th>'
        '<th class="n">failed</th><th class="n">share</th><th>commonest reasons, with a sample</th></tr>'
        f"{rows}</table></div></section>"
    )


def _row(run: RunRecords, name: str) -> str:
    failed, tried = run.last(f"failed/{name}"), run.last(f"tried/{name}")
    if not failed or not tried:
        return ""
    listed = [each for each in run.failures if each.source == name]
    return (
        f'<tr><th scope="row">{escape(name)}</th><td class="n">{count(tried)}</td>'
        f'<td class="n">{count(failed)}</td><td class="n">{percent(failed / tried)}</td>'
        f"<td>{_reasons(listed)}</td></tr>"
    )


def _reasons(listed: list[Skipped]) -> str:
    worst = ranked(tally(listed))
    lines = [
        f"{each.count:,} × <code>{escape(each.example.key)}</code>: {escape(each.example.reason)}"
        for each in worst[:_REASONS]
    ]
    if len(worst) > _REASONS:
        further = len(worst) - _REASONS
        lines.append(f"<small>and {further} further reason{'s' if further > 1 else ''}</small>")
    return "<br>".join(lines)
