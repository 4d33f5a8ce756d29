"""``spectranet config``: what is set, where it comes from, and which presets there are."""

from __future__ import annotations

import click

from spectranet.cli.options import config_options, plugins_option

__all__ = ["config"]


@click.group()
def config() -> None:
    """Show the merged configuration; list presets."""


@config.command()
@config_options
@click.option("--plain", is_flag=True, help="Leave out where each value comes from.")
def show(
    configs: tuple[str, ...], plugins: list[str] | None, overrides: tuple[str, ...], plain: bool
) -> None:
    """Print the merged configuration as YAML, with the origin of each value.

    A configuration with problems is printed too, as far as it can be read; the problems follow, and
    the exit code is 2.

    \b
    spectranet config show --config tiny train.steps=200
    """
    from spectranet.config import merge_config
    from spectranet.config.checks import unset_paths
    from spectranet.config.show import annotated

    resolved, error = merge_config(configs, overrides, plugins)
    click.echo(resolved.to_yaml() if plain else annotated(resolved), nl=False)
    if resolved.unused:
        names = ", ".join(resolved.unused)
        click.echo(f"not used, since their plugins are not loaded: {names}", err=True)
    for path, text in unset_paths(resolved.config):
        click.echo(f"enough to plan with, not to train: {path} {text}", err=True)
    if error is not None:
        raise error


@config.command()
@plugins_option
def presets(plugins: list[str] | None) -> None:
    """List the names that --config takes."""
    from spectranet.plugins import PluginHost, discover, installed_first_party

    host = PluginHost.load(installed_first_party(discover()) if plugins is None else plugins)
    width = max(map(len, host.presets), default=0)
    for name, preset in host.presets.items():
        click.echo(f"{name.ljust(width)}  {preset.summary}")
