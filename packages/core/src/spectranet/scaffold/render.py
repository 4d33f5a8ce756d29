"""From templates to the files of a package. Nothing is written here.

Templates are the files under ``templates/<kind>`` and ``templates/both``: ``string.Template`` texts whose
names end in ``.template``, so that no tool takes them for code. In paths, NAME stands for the plugin's name
and ``dot-`` for a leading dot.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from string import Template

import spectranet
from spectranet.scaffold.names import Names

__all__ = ["KINDS", "render", "requirement"]

KINDS: Mapping[str, str] = {"modality": "samples", "objective": "pictures"}
"""What can be made, and the folder that its sample data goes into."""
_ENDING = ".template"


def render(kind: str, names: Names, author: str = "") -> dict[str, str]:
    """Path -> text of every file of a package, sorted by path.

    Args:
        kind: one of :data:`KINDS`.
        author: who is named in pyproject.toml; nobody where it is empty.
    """
    authors = f"authors = [{{ name = {json.dumps(author, ensure_ascii=False)} }}]\n" if author else ""
    words = {
        "kind": kind,
        "data": KINDS[kind],
        "name": names.plugin,
        "Name": names.class_name,
        "NAME": names.constant,
        "distribution": names.distribution,
        "module": names.module,
        "core": requirement(spectranet.__version__),
        "authors": authors,
    }
    root = files(__package__) / "templates"
    found = {
        _path(path, names.plugin): Template(text).substitute(words)
        for folder in ("both", kind)
        for path, text in _texts(root / folder)
    }
    return dict(sorted(found.items()))


def requirement(version: str) -> str:
    """What a plugin made with this core asks of it: this minor or newer, up to the next major.

    Within a major the contract only grows, so the cap is where it may break.
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    return f">={major}.{minor},<{major + 1}"


def _texts(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _texts(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(_ENDING):
            yield prefix + entry.name, entry.read_text(encoding="utf-8")


def _path(template: str, name: str) -> str:
    path = template.removesuffix(_ENDING).replace("NAME", name)
    return "/".join(
        "." + part.removeprefix("dot-") if part[:4] == "dot-" else part for part in path.split("/")
    )
