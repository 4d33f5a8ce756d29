"""A package appears whole or not at all."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path

from spectranet.errors import SpectraNetError

__all__ = ["write_package"]


def write_package(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files beside ``folder``, then give them its name.

    Raises:
        SpectraNetError: ``folder`` is there already, its parent is not, or the disk refuses. Nothing is left.
    """
    if os.path.lexists(folder):
        raise SpectraNetError(
            f"'{folder}' is there already, and nothing is ever overwritten.\n"
            "  name another folder with --into, or move that one away"
        )
    if not folder.parent.is_dir():
        raise SpectraNetError(
            f"there is no folder '{folder.parent}'.\n  make it:  mkdir -p {shlex.quote(str(folder.parent))}"
        )
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as beside:
            # Inside it, since a temporary folder is closed to others and this one is not to be.
            new = Path(beside) / folder.name
            for path, text in files.items():
                file = new / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8", newline="\n")
            new.rename(folder)
    except OSError as error:
        raise SpectraNetError(
            f"'{folder}' cannot be written: {error.strerror or error}.\n  name another folder with --into"
        ) from error
