"""``spectranet data index``: what is in these shards?"""

from __future__ import annotations

import click

__all__ = ["index"]


@click.command("index")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
def index(paths: tuple[str, ...]) -> None:
    """Read the headers of tar shards: folders, patterns such as '{000..099}.tar', or single files."""
    from rich.console import Console
    from rich.table import Table

    from spectranet.data.tar import expand_shards, scan_shard

    table = Table("shard", "samples", "fields")
    for path in paths:
        for shard in expand_shards(path):
            found = scan_shard(shard)
            table.add_row(shard, str(len(found)), ", ".join(found.extensions))
    Console().print(table)
