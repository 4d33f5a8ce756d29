"""``spectranet plugins``: what is installed, and with ``--check`` whether it works."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import click

from spectranet.plugin_messages import install_command
from spectranet.plugins import FIRST_PARTY, PLUGIN_API, PluginInfo, discover

__all__ = ["plugins"]

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
    details: dict[str, str] = {}
    rows = [_row(info, infos, check, details) for info in infos]
    if as_json:
        click.echo(json.dumps([{**row, "detail": details.get(row["name"], "")} for row in rows], indent=2))
    else:
        _print_table([_HEAD, *([str(row[column]) for column in _HEAD] for row in rows)])
        for detail in details.values():
            click.echo(f"\n{detail}")
        _print_hints(infos, check)
    if check and details:
        raise SystemExit(1)


def _row(info: PluginInfo, infos: list[PluginInfo], check: bool, details: dict[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": info.name,
        "distribution": info.distribution,
        "version": info.version,
        "API": f"v{info.api}",
    }
    known = FIRST_PARTY.get(info.name)
    ours = known is not None and known.distribution == info.distribution
    row["modalities"] = _listed(known.modalities) if known and ours else "?"
    row["objectives"] = _listed(known.objectives) if known and ours else "?"
    rivals = [i for i in infos if i.name == info.name and i.api == PLUGIN_API]
    if info.api != PLUGIN_API:
        return row | {"status": f"skipped: core has API v{PLUGIN_API}"}
    if len(rivals) > 1:
        return row | {"status": f"offered by {len(rivals)} distributions"}
    if not check:
        return row | {"status": "installed"}
    result = probe(info.name)
    if "error" in result:
        details[info.name] = f"error: {result['error']}"
        return row | {"status": "broken"}
    return row | {
        "modalities": _listed(result["modalities"]),
        "objectives": _listed(result["objectives"]),
        "status": _extras(result),
    }


def probe(name: str, timeout_s: float = _TIMEOUT_S) -> dict[str, Any]:
    """Load one plugin in a fresh process: its record of :meth:`PluginHost.describe`, or ``error``.

    The process answers through a file, since a plugin may print, crash or never come back.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "spectranet.cli.probe", name, str(answer)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return {"error": f"plugin '{name}' did not load within {timeout_s:.0f} s."}
        if not answer.is_file():
            last = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
            return {"error": f"plugin '{name}' ended its process with code {done.returncode}:\n  {last}"}
        record: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return record


def _extras(record: dict[str, Any]) -> str:
    """``ok``, and what the columns do not show."""
    kinds = ("tasks", "readers", "presets", "commands")
    return "; ".join(["ok", *(f"{kind} {_listed(record[kind])}" for kind in kinds if record[kind])])


def _listed(names: Any) -> str:
    return ", ".join(names) or "-"


def _print_table(rows: list[Any]) -> None:
    """Aligned columns in plain text; no library, since this must be quick.

    In a terminal that is too narrow the widest columns are folded at their spaces.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if sys.stdout.isatty():
        available = shutil.get_terminal_size().columns - 2 * (len(widths) - 1)
        while sum(widths) > available and max(widths) > _NARROWEST:
            widths[widths.index(max(widths))] -= 1
    for row in rows:
        folded = [textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=True)]
        for line in itertools.zip_longest(*folded, fillvalue=""):
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            click.echo("  ".join(cells).rstrip())


def _print_hints(infos: list[PluginInfo], check: bool) -> None:
    names = {info.name for info in infos}
    missing = [name for name in FIRST_PARTY if name not in names]
    if missing:
        click.echo()
    for name in missing:
        click.echo(f"not installed: {name}  ({install_command(FIRST_PARTY[name].distribution)})")
    if not check and names - set(FIRST_PARTY):
        click.echo("\nto see what the other plugins bring: spectranet plugins --check")
