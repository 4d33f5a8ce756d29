"""docs/reference/contracts.md: what contracts.py says, each declaration with its fields."""

from __future__ import annotations

import re
from collections.abc import Mapping

from declarations import declaration
from sources import CORE, Source

__all__ = ["contracts_page", "sections"]

SOURCE = CORE / "contracts.py"
TITLES = {"data": "Data", "model": "Model", "plugins": "What plugins declare"}
HEAD = """# Contract reference

What a modality, an objective, a task and a reader must be. `python docs/generate.py` makes this page from
[contracts.py](../../packages/core/src/spectranet/contracts.py). All names are imported from `spectranet`;
the others that a plugin may import are [on a page of their own](names.md).

A name ends with the shape of its tensor, a letter an axis:

| letter | counts |
|---|---|
"""


def sections(source: Source) -> dict[str, list[str]]:
    """The public names under each ruler of contracts.py, in the order in which they stand there."""
    found: dict[str, list[str]] = {}
    public = set(source.module.exports or ())
    for line in source.text.splitlines():
        if ruler := re.fullmatch(r"# -+ (\w+)", line):
            names = found[TITLES[ruler[1]]] = []
        elif (statement := re.match(r"class (\w+)", line)) and statement[1] in public:
            names.append(statement[1])
    return found


def shape_letters(docstring: str) -> list[tuple[str, str]]:
    """(letter, what it counts) of the paragraph ``Shape suffixes: B samples, …``."""
    (legend,) = re.findall(r"Shape suffixes: (.*?)\.\s*\Z", docstring, re.DOTALL)
    return [(entry[0], entry[2:]) for entry in " ".join(legend.split()).split(", ")]


def contracts_page(links: Mapping[str, str]) -> str:
    source = Source.read(SOURCE)
    assert source.module.docstring is not None
    rows = [f"| {letter} | {meaning} |" for letter, meaning in shape_letters(source.module.docstring.value)]
    page = [HEAD + "\n".join(rows) + "\n"]
    for title, names in sections(source).items():
        page.append(f"## {title}\n")
        page += [declaration(name, source.module[name], links) for name in names]
    return "\n".join(page)
