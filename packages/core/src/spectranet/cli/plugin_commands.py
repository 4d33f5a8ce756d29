"""Which commands do plugins add, and how is one found without importing all?"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

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

__all__ = ["announced_commands", "find_command"]


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
    for plugin in [each for each in announcers if each in installed] or _having(name, others, infos):
        try:
            return next((each for each in _commands(plugin, infos) if each.name == name), None)
        except PluginError as error:
            _warn(str(error))
    return None


def _commands(plugin: str, infos: Sequence[PluginInfo]) -> list[click.Command]:
    return PluginHost([import_plugin(choose(plugin, "plugins", infos), "plugins")]).commands()


def _having(command: str, plugins: Sequence[str], infos: Sequence[PluginInfo]) -> list[str]:
    """The first plugin that has the command, if one has.

    They are asked in a process apart, since one that nobody named may also end its process, or crash it. Then
    another process asks those that come after it.
    """
    left = list(plugins)
    while left:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _ask(command, left, infos, writing)
        os.close(writing)
        with os.fdopen(reading) as answers:
            told = [json.loads(line) for line in answers if line.endswith("\n")]
        _, status = os.waitpid(child, 0)
        for _, problem in told:
            if problem:
                _warn(problem)
        if told and told[-1][1] == "":
            return [told[-1][0]]
        left = left[len(told) :]
        if left:
            plugin, *left = left
            code = os.waitstatus_to_exitcode(status)
            _warn(f"plugin '{plugin}' ended its process with code {code}")
    return []


def _ask(command: str, plugins: Sequence[str], infos: Sequence[PluginInfo], writing: int) -> None:
    """In the child: a line for each plugin with what is wrong with it, "" if it has the command, or null."""
    try:
        with os.fdopen(writing, "w") as answers:
            for plugin in plugins:
                try:
                    has_it = any(each.name == command for each in _commands(plugin, infos))
                    answer = "" if has_it else None
                except PluginError as error:
                    answer = str(error)
                answers.write(json.dumps([plugin, answer]) + "\n")
                answers.flush()
                if answer == "":
                    break
    finally:
        sys.stderr.flush()
        os._exit(0)


def _warn(problem: str) -> None:
    first, *rest = problem.splitlines()
    reason = f" {rest[0].strip()}" if first.endswith(":") and rest else ""
    click.echo(f"warning: {first}{reason}", err=True)
