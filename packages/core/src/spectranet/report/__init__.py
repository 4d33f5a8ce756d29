"""The report page of a run: one file that can be mailed, read on a phone and kept."""

from __future__ import annotations

from pathlib import Path

from spectranet.report.document import write_page
from spectranet.report.page import page
from spectranet.report.records import read_run

__all__ = ["render"]


def render(run_dir: Path) -> Path:
    """Draw ``report.html`` of a finished or running run; returns its path.

    The page holds everything it shows: it asks for no other file, and needs no script. It replaces
    an older one at once, so that a browser never sees half of it.

    Raises:
        DataError: there is no run in ``run_dir``, or it has logged nothing yet.
    """
    html = page(read_run(Path(run_dir)))
    path = Path(run_dir) / "report.html"
    write_page(path, html)
    return path
