"""``python -m spectranet.testing``: the clauses of the contract, without a network."""

from __future__ import annotations

import shutil
import sys

import click

from spectranet.errors import SpectraNetError
from spectranet.testing import clause_pages

_WIDEST_PROSE = 100


@click.command(help="List what the contract asks of plugins, or explain single CLAUSES.")
@click.argument("clauses", nargs=-1, metavar="[CLAUSE]...")
@click.option("--markdown", is_flag=True, help="Print the page docs/conformance.md.")
def main(clauses: tuple[str, ...], markdown: bool) -> None:
    columns = shutil.get_terminal_size().columns
    if markdown:
        click.echo(clause_pages.markdown(), nl=False)
    elif clauses:
        try:
            pages = [clause_pages.page(name, min(columns, _WIDEST_PROSE)) for name in clauses]
        except SpectraNetError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(error.exit_code)
        click.echo("\n\n".join(pages))
    else:
        click.echo(clause_pages.listing(columns if sys.stdout.isatty() else None))


if __name__ == "__main__":
    main(prog_name="python -m spectranet.testing")
