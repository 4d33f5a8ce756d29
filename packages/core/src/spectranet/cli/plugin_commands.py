"""Which commands do plugins add, and how is one found without importing all?"""

from __future__ import annotations

import click

from spectranet.errors import PluginError
from spectranet.plugins import (
    FIRST_PARTY,
    PLUGIN_API,
    PluginHost,
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
    names = {info.name for info in infos if info.api == PLUGIN_API}
    announcers = {plugin for plugin, known in FIRST_PARTY.items() if name in known.commands}
    for plugin in sorted(names, key=lambda plugin: (plugin not in announcers, plugin)):
        try:
            host = PluginHost([import_plugin(choose(plugin, "plugins", infos), "plugins")])
            commands = host.commands()
        except PluginError as error:
            first, *rest = str(error).splitlines()
            reason = f" {rest[0].strip()}" if first.endswith(":") and rest else ""
            click.echo(f"warning: {first}{reason}", err=True)
            continue
        for command in commands:
            if command.name == name:
                return command
    return None
