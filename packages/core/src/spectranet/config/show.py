"""How is a merged configuration printed, with the origin of every value?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from spectranet.config.merge import Resolved
from spectranet.config.plain_yaml import write_value
from spectranet.config.typed import Path, as_text

__all__ = ["annotated", "to_yaml"]

_WIDTH = 80
_COMMENT_COLUMN = 46


def to_yaml(resolved: Resolved) -> str:
    """YAML text that gives the same configuration when it is loaded as a file."""
    return "".join(f"{line}\n" for line, _ in _lines(asdict(resolved.config), (), resolved))


def annotated(resolved: Resolved) -> str:
    """The same text with the origin of each value beside it, or above it where the line is long."""
    text = []
    for line, origin in _lines(asdict(resolved.config), (), resolved):
        beside = f"{line.ljust(_COMMENT_COLUMN)}  # {origin}"
        if origin is None:
            text.append(line)
        elif len(beside) <= _WIDTH:
            text.append(beside)
        else:
            indent = line[: len(line) - len(line.lstrip())]
            text += [f"{indent}# {origin}", line]
    return "".join(f"{line}\n" for line in text)


def _lines(values: dict[str, Any], path: Path, resolved: Resolved) -> Iterator[tuple[str, str | None]]:
    """(line of YAML, origin); a section's own line has no origin."""
    for name, value in values.items():
        key = f"{'  ' * len(path)}{write_value(name)}:"
        if isinstance(value, dict) and value:
            yield key, None
            yield from _lines(value, (*path, name), resolved)
        else:
            yield f"{key} {write_value(value)}", resolved.provenance[as_text((*path, name))]
