"""Plugins that break one clause of the contract each, made of plugins that keep them all.

``field.plant("beats", "leaky", Change("encoder.py", "good line", "bad line"))`` installs
``spectranet-leaky``, a copy of ``good_plugins/spectranet_beats`` with that change, so that this process and
those it starts find it. Its modality is still called ``beats``; the plugin's name is what differs, so many
plants can stand side by side.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["GOOD", "Change", "Field", "field_in"]

GOOD = Path(__file__).parent / "good_plugins"
"""A folder for each well-behaved plugin: the modality ``beats``; the objectives ``recall`` and ``match``."""

_TAKEN: set[str] = set()
"""A process imports a name once, and the kit remembers what it has loaded: no two plants may share one."""


@dataclass(frozen=True)
class Change:
    """In one file of the copy, ``old`` becomes ``new``; a new file where ``old`` is empty."""

    file: str
    old: str
    new: str


class Field:
    """A folder on ``sys.path`` and ``PYTHONPATH`` that takes distributions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def plant(
        self,
        like: str,
        name: str,
        *changes: Change,
        requires: str | None = "spectranet-core>=0.1,<1",
        entries: str = "[spectranet.plugins.v1]\n{name} = spectranet_{name}.plugin\n",
    ) -> None:
        """Install a copy of ``spectranet_{like}`` as distribution and plugin ``name``.

        Args:
            like: ``beats`` or ``recall``.
            name: of the plugin; must be new, also among the plants of other test modules.
            changes: what is wrong with it. ``old`` must stand exactly once in its file, as it is in the
                good plugin; so plants do not outlive what they change.
            requires: its requirement on the core.
            entries: ``entry_points.txt``.
        """
        assert name not in _TAKEN, f"there is a plant '{name}' already"
        _TAKEN.add(name)
        package = self.folder / f"spectranet_{name}"
        package.mkdir()
        sources = {path.name: path.read_text() for path in (GOOD / f"spectranet_{like}").glob("*.py")}
        for change in changes:
            before = sources.setdefault(change.file, "")
            times = before.count(change.old) if change.old else 1
            assert times == 1, f"{change.file} of {like} has {times} times: {change.old}"
            sources[change.file] = before.replace(change.old, change.new, 1) if change.old else change.new
        for file, source in sources.items():
            (package / file).write_text(source.replace(f"spectranet_{like}", f"spectranet_{name}"))
        self._describe(name, requires, entries.format(name=name))

    def _describe(self, name: str, requires: str | None, entries: str) -> None:
        """What an installer leaves beside the package; RECORD names the files that belong to it."""
        info = self.folder / f"spectranet_{name}-0.1.0.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: spectranet-{name}", "Version: 0.1.0"]
        if requires is not None:
            lines.append(f"Requires-Dist: {requires}")
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        (info / "entry_points.txt").write_text(entries)
        owned = [path.relative_to(self.folder) for path in (self.folder / f"spectranet_{name}").iterdir()]
        (info / "RECORD").write_text("".join(f"{path.as_posix()},,\n" for path in sorted(owned)))
        importlib.invalidate_caches()


@contextmanager
def field_in(folder: Path) -> Iterator[Field]:
    """A field in ``folder``, for as long as the context lasts: of a test, a module or a session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", str(folder), prepend=":")
        yield Field(folder)
    importlib.invalidate_caches()
