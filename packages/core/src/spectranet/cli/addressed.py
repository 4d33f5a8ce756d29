"""How does a group of commands list them without importing any?"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

from spectranet.errors import did_you_mean

__all__ = ["AddressedGroup"]


class AddressedGroup(click.Group):
    """Commands by address, each imported when it is asked for.

    Args:
        addresses: name -> (``package.module:name``, line of help). The help stands there so that
            listing imports no command.
    """

    def __init__(self, *args: object, addresses: Mapping[str, tuple[str, str]], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.addresses = addresses

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.addresses)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.addresses:
            return None
        module, _, name = self.addresses[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None and not ctx.resilient_parsing:
            raise click.UsageError(f"no command '{name}'.{did_you_mean(name, self.addresses)}", ctx)
        return name, command, args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(self.addresses.items())])
