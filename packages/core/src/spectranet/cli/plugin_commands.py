"""Which commands do plugins add, and how is one found without importing all?"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from spectranet.errors import PluginError
from spectranet.plugins import (
    FIRST_PARTY,
    PLUGIN_API,
    PluginHost,
    PluginInfo,
    choose,
    discover,
    import_plugin,
)

__all__ = ["announced_commands", "commands_of", "find_command"]

_TIMEOUT_S = 120.0


def announced_commands() -> tuple[list[tuple[str, str]], list[str]]:
    """For ``--help``, from metadata alone.

    Returns:
        (name, line of help) of the commands of installed first-party plugins; names of the other
        plugins, which would have to be imported to know.
    """
    installed = {info.name for info in discover() if info.api == PLUGIN_API}
    commands = [
        command
        for name, known in FIRST_PARTY.items()
        if name in installed
        for command in known.commands.items()
    ]
    return commands, sorted(installed - set(FIRST_PARTY))


def find_command(name: str) -> click.Command | None:
    """The command that an installed plugin brings; a broken plugin costs one line on stderr.

    The first-party plugin that announces the name is asked first, then the others by name; the
    first that has it ends the search, so that no more plugins are imported than needed.
    """
    infos = discover()
    installed = {info.name for info in infos if info.api == PLUGIN_API}
    announcers = [plugin for plugin, known in FIRST_PARTY.items() if name in known.commands]
    others = sorted(installed.difference(announcers))
    for plugin in [each for each in announcers if each in installed] or _having(name, others):
        try:
            return next((each for each in commands_of(plugin, infos) if each.name == name), None)
        except PluginError as error:
            _warn(str(error))
    return None


def commands_of(plugin: str, infos: Sequence[PluginInfo]) -> list[click.Command]:
    """The commands that one plugin brings.

    Raises:
        PluginError: it cannot be used.
    """
    return PluginHost([import_plugin(choose(plugin, "plugins", infos), "plugins")]).commands()


def _having(command: str, plugins: Sequence[str]) -> list[str]:
    """The first plugin that has the command, if one has.

    They are asked in a process apart, since one that nobody named may also end its process, crash it or never
    come back. Then another process asks those that come after it.
    """
    left = list(plugins)
    while left:
        with tempfile.TemporaryDirectory() as folder:
            answer = Path(folder) / "answer.jsonl"
            call = [sys.executable, "-m", "spectranet.cli.probe_commands", command, str(answer), *left]
            try:
                done = subprocess.run(call, capture_output=True, timeout=_TIMEOUT_S)
                ending = f"ended its process with code {done.returncode}"
            except subprocess.TimeoutExpired:
                ending = f"did not load within {_TIMEOUT_S:.0f} s"
            lines = answer.read_text(encoding="utf-8").splitlines() if answer.is_file() else []
        for plugin, has_it, problem in map(json.loads, lines):
            if has_it:
                return [plugin]
            if problem:
                _warn(problem)
        left = left[len(lines) :]
        if left:
            _warn(f"plugin '{left.pop(0)}' {ending}")
    return []


def _warn(problem: str) -> None:
    first, *rest = problem.splitlines()
    reason = f" {rest[0].strip()}" if first.endswith(":") and rest else ""
    click.echo(f"warning: {first}{reason}", err=True)
