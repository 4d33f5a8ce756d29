"""``spectranet data``: what concerns training data. A file per command, ``data_<command>.py``."""

from __future__ import annotations

import click

from spectranet.cli.addressed import AddressedGroup

__all__ = ["data"]

COMMANDS = {
    "index": ("spectranet.cli.data_index:index", "Index tar shards, so that training opens them at once."),
    "inspect": ("spectranet.cli.data_inspect:inspect", "Look at training data, as a run would see it."),
}
"""Name -> (address, line of help)."""


@click.group(cls=AddressedGroup, addresses=COMMANDS)
def data() -> None:
    """Prepare training data and look at it."""
