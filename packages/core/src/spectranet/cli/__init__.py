"""``spectranet``: a file per command. Importing this imports no command, no plugin and no torch."""

from spectranet.cli.root import main

__all__ = ["main"]
