"""Which options do all commands share that need a configuration?

Decorators add the parameters ``plugins: list[str] | None``, ``configs: tuple[str, ...]`` and
``overrides: tuple[str, ...]``; hand them to :func:`spectranet.config.load_config`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["config_option", "config_options", "overrides_argument", "plugins_option"]

Command = TypeVar("Command", bound=Callable[..., Any])


def _names(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> list[str] | None:
    """``("a,b", "c")`` to ``["a", "b", "c"]``; None where the option was not given."""
    if not value:
        return None
    return [name.strip() for part in value for name in part.split(",") if name.strip()]


def plugins_option(command: Command) -> Command:
    return click.option(
        "--plugins",
        multiple=True,
        metavar="A,B",
        callback=_names,
        help="Plugins to load, besides those that bring the objectives. "
        "Default: what the configuration says, else every installed first-party plugin.",
    )(command)


def config_option(command: Command) -> Command:
    return click.option(
        "--config",
        "configs",
        multiple=True,
        metavar="NAME|FILE",
        help="A preset's name or a YAML file; may be repeated, later ones win.",
    )(command)


def overrides_argument(command: Command) -> Command:
    return click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")(command)


def config_options(command: Command) -> Command:
    """``--plugins``, ``--config`` and ``key=value`` in one."""
    return plugins_option(config_option(overrides_argument(command)))
