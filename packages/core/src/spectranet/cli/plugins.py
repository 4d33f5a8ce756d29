"""``spectranet plugins``: what is installed, and with ``--check`` whether it works."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from spectranet.errors import PluginError
from spectranet.plugin_messages import install_command
from spectranet.plugins import FIRST_PARTY, PLUGIN_API, PluginInfo, choose, discover

__all__ = ["plugins", "probe"]

_HEAD = ("name", "distribution", "version", "API", "modalities", "objectives", "status")
_TIMEOUT_S = 120.0
_NARROWEST = 8


@click.command()
@click.option("--check", is_flag=True, help="Import each plugin, in a process of its own.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def plugins(check: bool, as_json: bool) -> None:
    """List the installed plugins.

    Without --check nothing is imported: what a third party's plugin brings is not known then ('?').
    With it, the exit code is 1 where a plugin does not load.
    """
    infos = discover()
    answers = _probe_all(infos) if check else {}
    rows = [_row(info, infos, answers.get(info.name)) for info in infos]
    if as_json:
        records = [dict(zip(_HEAD, row.cells, strict=True)) | {"detail": row.detail} for row in rows]
        click.echo(json.dumps(records, indent=2))
    else:
        _print_table([_HEAD, *(row.cells for row in rows)])
        for detail in dict.fromkeys(row.detail for row in rows if row.detail):
            click.echo(f"\n{detail}")
        for note in _shared_names(answers):
            click.echo(f"\n{note}")
        _print_hints(infos, check)
    if check and any(row.detail for row in rows):
        raise SystemExit(1)


@dataclass(frozen=True)
class _Row:
    """One offer of a plugin: a cell for each column, and what is wrong with it in full."""

    cells: tuple[str, ...]
    detail: str = ""


def _row(info: PluginInfo, infos: Sequence[PluginInfo], answer: Mapping[str, Any] | None) -> _Row:
    """
    Args:
        answer: what :func:`probe` says of the name; None where it was not asked.
    """
    known = FIRST_PARTY.get(info.name)
    ours = known is not None and known.distribution == info.distribution
    modalities = _listed(known.modalities) if known and ours else "?"
    objectives = _listed(known.objectives) if known and ours else "?"
    detail = ""
    rivals = [i for i in infos if i.name == info.name and i.api == PLUGIN_API]
    if info.api != PLUGIN_API:
        status = f"skipped: core has API v{PLUGIN_API}"
    elif len(rivals) > 1:
        status = f"offered by {len(rivals)} packages"
        detail = _why_not(info.name, infos)
    elif answer is None:
        status = "installed"
    elif "error" in answer:
        status, detail = "broken", f"error: {answer['error']}"
    else:
        modalities, objectives = _listed(answer["modalities"]), _listed(answer["objectives"])
        status = _extras(answer)
    cells = (info.name, info.distribution, info.version, f"v{info.api}", modalities, objectives, status)
    return _Row(cells, detail)


def _why_not(name: str, infos: Sequence[PluginInfo]) -> str:
    try:
        choose(name, "--plugins", infos)
    except PluginError as error:
        return f"error: {error}"
    return ""


def _probe_all(infos: Sequence[PluginInfo]) -> dict[str, dict[str, Any]]:
    """What each plugin that a name means without doubt says of itself; as many at once as there are cores."""
    current = [info.name for info in infos if info.api == PLUGIN_API]
    names = [name for name in current if current.count(name) == 1]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(names, pool.map(probe, names), strict=True))


def probe(name: str, timeout_s: float = _TIMEOUT_S) -> dict[str, Any]:
    """Load one plugin in a fresh process: its record of :meth:`PluginHost.describe`, or ``error``.

    The process answers through a file, since a plugin may print, crash or never come back.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "spectranet.cli.probe", name, str(answer)]
        try:
            # It may print anything, in any encoding.
            done = subprocess.run(command, capture_output=True, errors="replace", timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return {"error": f"plugin '{name}' did not load within {timeout_s:.0f} s."}
        if not answer.is_file():
            last = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
            return {"error": f"plugin '{name}' ended its process with code {done.returncode}:\n  {last}"}
        record: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return record


def _shared_names(answers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for each name that several plugins bring: each works, but not beside the others."""
    notes = []
    for plural in ("modalities", "objectives", "tasks", "readers", "presets", "trunks"):
        claims: dict[str, list[str]] = {}
        for plugin, answer in answers.items():
            for name in answer.get(plural, ()):
                claims.setdefault(name, []).append(plugin)
        kind = {"modalities": "modality"}.get(plural, plural.removesuffix("s"))
        notes += [
            f"{kind} '{name}' is claimed by {' and '.join(who)}: name one of them in --plugins."
            for name, who in claims.items()
            if len(who) > 1
        ]
    return notes


def _extras(record: Mapping[str, Any]) -> str:
    """``ok``, and what the columns do not show."""
    kinds = ("tasks", "readers", "presets", "commands")
    return "; ".join(["ok", *(f"{kind} {_listed(record[kind])}" for kind in kinds if record[kind])])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "-"


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns in plain text; no library, since this must be quick."""
    columns = list(zip(*rows, strict=True))
    widths, gap = [max(map(len, column)) for column in columns], 2
    if sys.stdout.isatty():
        widths, gap = _fitting(columns, shutil.get_terminal_size().columns)
    for row in rows:
        folded = [textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=True)]
        for line in itertools.zip_longest(*folded, fillvalue=""):
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            click.echo((" " * gap).join(cells).rstrip())


def _fitting(columns: Sequence[Sequence[str]], terminal: int) -> tuple[list[int], int]:
    """Widths of columns and of the gaps between them, so that a line fits into the terminal.

    Cells are folded at their spaces; where that is not enough columns move together, then words are cut.
    """
    natural = [max(map(len, column)) for column in columns]
    longest_word = [max(len(word) for cell in column for word in cell.split()) for column in columns]
    for least, gap in ((longest_word, 2), (longest_word, 1), ([_NARROWEST] * len(columns), 1)):
        widths = natural.copy()
        while sum(widths) + gap * (len(widths) - 1) > terminal:
            wide = [i for i, width in enumerate(widths) if width > least[i]]
            if not wide:
                break
            widths[max(wide, key=widths.__getitem__)] -= 1
        else:
            break
    return widths, gap


def _print_hints(infos: Sequence[PluginInfo], check: bool) -> None:
    names = {info.name for info in infos}
    missing = [name for name in FIRST_PARTY if name not in names]
    if missing:
        click.echo()
    for name in missing:
        click.echo(f"not installed: {name}  ({install_command(FIRST_PARTY[name].distribution)})")
    if not check and names - set(FIRST_PARTY):
        click.echo("\nto see what the other plugins bring: spectranet plugins --check")
