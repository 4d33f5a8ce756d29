"""``spectranet report``: draw the page of a run anew."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["report"]


@click.command()
@click.argument("run_dir", metavar="RUN")
def report(run_dir: str) -> None:
    """Write the report page of RUN, finished or under way, and print where it is.

    \b
    spectranet report runs/demo
    """
    from spectranet.report import render

    click.echo(render(Path(run_dir)))
