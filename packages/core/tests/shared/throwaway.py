"""Makes plugins on the fly: a module and the metadata of a distribution that offers it."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["DECLARATIONS", "Shelf", "shelf_in"]

DECLARATIONS = """\
from dataclasses import dataclass, field

from spectranet import Modality, Objective, Preset, Reader, Task, Trunk, hookimpl, option


def nothing(*args, **kwargs):
    raise AssertionError("a declaration is not to be called")


@dataclass
class Inner:
    depth: int = option(2, "how deep")


@dataclass
class Options:
    size: int = option(8, "how big")
    rate: float = option(0.5, "how fast")
    label: str = option("x", "a name")
    limit: int | None = option(None, "at most")
    sizes: list[int] = option([1, 2], "some sizes")
    shares: dict[str, float] = option({}, "share of each")
    inner: Inner = field(default_factory=Inner, metadata={"help": "nested"})


@dataclass
class Weighted(Options):
    weight: float = option(1.0, "factor of its losses")


def modality(name, trunk=None, config=Options):
    return Modality(
        name, config, (name,), nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing,
        nothing, nothing, trunk=trunk,
    )


def objective(name, config=Weighted):
    return Objective(name, config, nothing)


def task(name, config=Options):
    return Task(name, config, (), nothing)

"""
"""Head of a plugin's source: makes declarations of which only names and options matter."""


class Shelf:
    """A folder on ``sys.path`` that takes throw-away distributions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(
        self,
        name: str,
        source: str,
        *,
        module: str | None = None,
        distribution: str | None = None,
        version: str = "0.1.0",
        api: int = 1,
    ) -> None:
        """Offer ``source`` as plugin ``name``. ``module`` may be dotted: its packages are made.

        An object in it is offered by ``module:object``.
        """
        module = module or f"spectranet_{name}.plugin"
        distribution = distribution or f"spectranet-{name}"
        *packages, leaf = module.partition(":")[0].split(".")
        folder = self.folder
        for package in packages:
            folder = folder / package
            folder.mkdir(exist_ok=True)
            (folder / "__init__.py").touch()
        (folder / f"{leaf}.py").write_text(source)
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        entry = f"[spectranet.plugins.v{api}]\n{name} = {module}\n"
        (info / "entry_points.txt").write_text(entry)

    def modality(self, name: str, modality: str | None = None, **where: str) -> None:
        """Offer a plugin that brings one modality, by default of its own name."""
        hook = f"@hookimpl\ndef spectranet_modalities():\n    return [modality('{modality or name}')]\n"
        self.put(name, DECLARATIONS + hook, **where)  # type: ignore[arg-type]


@contextmanager
def shelf_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """A shelf that is all that is installed, as far as metadata tells; imports are undone at the end."""
    for name in [name for name in sys.modules if name.startswith("spectranet_")]:
        # A throw-away plugin may have the name of a real one that another test has imported.
        monkeypatch.delitem(sys.modules, name)
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(folder))
    discover = importlib.metadata.Distribution.discover
    monkeypatch.setattr(importlib.metadata, "distributions", lambda **_: discover(path=[str(folder)]))
    yield Shelf(folder)
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if origin.startswith(str(folder)):
            del sys.modules[name]
