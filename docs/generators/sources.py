"""What does a source file say, read and not run?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import griffe

__all__ = ["CORE", "ROOT", "Source"]

ROOT = Path(__file__).parents[2]
CORE = ROOT / "packages" / "core" / "src" / "spectranet"


@dataclass(frozen=True)
class Source:
    """A file, its text, and its declarations with their docstrings."""

    path: Path
    text: str
    module: griffe.Module

    @classmethod
    def read(cls, path: Path) -> Source:
        text = path.read_text()
        return cls(path, text, griffe.visit(path.stem, filepath=path, code=text))

    @property
    def link(self) -> str:
        """A link from a page in docs/reference/."""
        path = self.path.relative_to(ROOT).as_posix()
        return f"[{path}](../../{path})"
