"""What is said of a source's path that does not exist?"""

from __future__ import annotations

from spectranet.errors import not_there

__all__ = ["missing_source"]


def missing_source(path: str) -> str:
    """Names the path, a near name beside it, and the absolute path that was looked at."""
    return not_there(path, "source paths are relative to the working directory")
