"""How does a docstring become Markdown?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from textwrap import indent

import griffe

__all__ = ["described", "item", "markdown", "paragraphs"]

ROLE = re.compile(r":(?:func|class|meth|mod|attr):`([\w.]+)`")


def markdown(text: str, links: Mapping[str, str]) -> str:
    """reStructuredText's code and roles as Markdown's; a role whose name has a link leads there."""

    def name(role: re.Match[str]) -> str:
        code = f"`{role[1]}`"
        return f"[{code}]({links[role[1]]})" if role[1] in links else code

    return re.sub(r"``(.+?)``", r"`\1`", ROLE.sub(name, text), flags=re.DOTALL)


def described(docstring: griffe.Docstring | None) -> dict[str, str]:
    """What the sections ``Args`` and ``Attributes`` say of each name."""
    return {
        entry.name: entry.description
        for section in _sections(docstring)
        if isinstance(section, griffe.DocstringSectionParameters | griffe.DocstringSectionAttributes)
        for entry in section.value
    }


def paragraphs(docstring: griffe.Docstring | None, links: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The text before the fields, and what comes after them: more text, what is raised or returned."""
    before: list[str] = []
    after: list[str] = []
    place = before
    for section in _sections(docstring):
        if isinstance(section, griffe.DocstringSectionParameters | griffe.DocstringSectionAttributes):
            place = after
        elif isinstance(section, griffe.DocstringSectionText):
            place.append(markdown(section.value.strip(), links))
        elif isinstance(section, griffe.DocstringSectionRaises):
            lines = [f"- `{each.annotation}`: {markdown(each.description, links)}" for each in section.value]
            place.append("Raises:\n\n" + "\n".join(lines))
        elif isinstance(section, griffe.DocstringSectionReturns):
            lines = [markdown(each.description, links) for each in section.value]
            place.append("Returns: " + " ".join(lines))
        else:
            raise ValueError(f"no rule for a section of kind {section.kind}")
    return before, after


def _sections(docstring: griffe.Docstring | None) -> list[griffe.DocstringSection]:
    return [] if docstring is None else docstring.parse("google", warnings=False)


def item(code: str, text: str) -> str:
    """An entry of a list: a line of code and, below it, what it means."""
    return f"- `{code}`" + (f"<br>\n{indent(text.strip(), '  ')}" if text.strip() else "")
