"""Which keys of the configuration may an unknown ``--option`` have meant?"""

from __future__ import annotations

import difflib

from spectranet.config.checks import option_paths
from spectranet.config.schema import Config

__all__ = ["keys_like"]


def keys_like(option: str) -> list[str]:
    """``--steps`` and ``--train.steps`` to ``["train.steps"]``; near names where none is the same."""
    name = option.lstrip("-").replace("-", "_")
    paths = list(option_paths(Config()))
    for known in (name, *difflib.get_close_matches(name, {path.rpartition(".")[2] for path in paths}, n=1)):
        found = [path for path in paths if path == known or path.endswith(f".{known}")]
        if found:
            return found
    return []
