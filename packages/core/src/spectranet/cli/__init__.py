"""``spectranet``: a file per command. Importing this imports no command, no plugin and no torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit; see :func:`spectranet.cli.root.main`."""
    if (sys.argv[1:] if args is None else list(args))[:1] == ["train"]:
        # Seconds of imports follow, and a scheduler's signal may come at any time.
        from spectranet.train.stopping.ending import listen_before_imports

        listen_before_imports()
    from spectranet.cli.root import main as run_command

    run_command(args)
