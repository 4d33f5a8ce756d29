"""``spectranet new``: a package of one's own, which passes its tests and trains."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from spectranet.scaffold.names import Names, names_of
from spectranet.scaffold.render import KINDS, render
from spectranet.scaffold.write import write_package

__all__ = ["new"]

_WIDTH = 80
_TRAINED_WITH = {"modality": "{name},text", "objective": "vision,text,{name}"}

into_option = click.option(
    "--into",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder to make; by itself ./spectranet-NAME.",
)
author_option = click.option("--author", default="", help="Who is named in pyproject.toml.")


@click.group()
def new() -> None:
    """Make a plugin package: tested, documented, ready to train and to publish."""


@new.command()
@click.argument("name")
@into_option
@author_option
def modality(name: str, into: Path | None, author: str) -> None:
    """Make a package that brings the modality NAME: series of numbers, to begin with.

    \b
    spectranet new modality thermal
    spectranet new modality lidar --into plugins/lidar --author 'Ada Lovelace'
    """
    _make("modality", name, into, author)


@new.command()
@click.argument("name")
@into_option
@author_option
def objective(name: str, into: Path | None, author: str) -> None:
    """Make a package that brings the objective NAME: one modality's summary told from the others.

    \b
    spectranet new objective recall
    """
    _make("objective", name, into, author)


def _make(kind: str, name: str, into: Path | None, author: str) -> None:
    names = names_of(name, kind)
    folder = into or Path(names.distribution)
    files = render(kind, names, author)
    write_package(folder, files)
    click.echo(f"made {folder}: {len(files)} files\n\nnext:")
    for command in next_commands(kind, names, folder):
        click.echo(f"  {_folded(command)}")
    click.echo(f"\nwhich file to change for what:  {folder}/README.md")


def next_commands(kind: str, names: Names, folder: Path) -> list[str]:
    """Install, test, make samples, train."""
    place = str(folder) if folder.is_absolute() else f"./{folder}"
    plugins = _TRAINED_WITH[kind].format(name=names.plugin)
    config = shlex.quote(str(folder / "train.yaml"))
    return [
        f"python -m pip install -e {shlex.quote(f'{place}[test]')}",
        f"pytest {shlex.quote(str(folder))}",
        f"python -m {names.module}.samples {KINDS[kind]}",
        f"spectranet train --plugins {plugins} --config {config}",
    ]


def _folded(command: str) -> str:
    """In two lines of a shell where one is too long."""
    if len(command) + 2 <= _WIDTH or " --config " not in command:
        return command
    return command.replace(" --config ", " \\\n      --config ")
