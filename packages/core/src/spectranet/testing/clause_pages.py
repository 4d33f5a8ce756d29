"""How do all clauses read, in a terminal and as ``docs/conformance.md``? Both are made of the docstrings."""

from __future__ import annotations

import textwrap

from spectranet.errors import ConfigError, did_you_mean
from spectranet.testing.clause import asked, clauses_of, plain
from spectranet.testing.modality.conformance import ModalityConformance
from spectranet.testing.objective.conformance import ObjectiveConformance
from spectranet.testing.package.conformance import PackageConformance

__all__ = ["RENEW", "clauses", "listing", "markdown", "page"]

RENEW = "python -m spectranet.testing --markdown > docs/conformance.md"

_INTRODUCTION = f"""\
# What the contract asks

<!-- Made of the docstrings in spectranet.testing; do not edit. {RENEW} -->

Each clause is a test that a plugin's own test class inherits from `ModalityConformance` or
`ObjectiveConformance`; [testing a plugin](authors/testing.md) says how. A failure names its clause. The same
text is in the package: `python -m spectranet.testing padding-is-inert` prints that of one clause.
"""


def clauses() -> dict[str, dict[str, str]]:
    """Kind of plugin -> clause -> docstring, in the order in which they are checked."""
    package = clauses_of(PackageConformance)
    kinds = {"Every plugin": package}
    for title, cls in (("Modalities", ModalityConformance), ("Objectives", ObjectiveConformance)):
        kinds[title] = {name: text for name, text in clauses_of(cls).items() if name not in package}
    return kinds


def listing(width: int | None) -> str:
    """All clauses by kind, a line each; cut to ``width`` columns unless that is None."""
    kinds = clauses()
    widest = max(len(name) for some in kinds.values() for name in some)
    lines = []
    for title, some in kinds.items():
        lines += ["", f"{title}:"] if lines else [f"{title}:"]
        for name, text in some.items():
            line = f"  {name:<{widest}}  {asked(text)}"
            lines.append(line if width is None or len(line) <= width else line[: width - 1].rstrip() + "…")
    return "\n".join(lines)


def page(name: str, width: int) -> str:
    """Everything about one clause.

    Raises:
        ConfigError: there is none of this name.
    """
    kinds = clauses()
    for title, some in kinds.items():
        if name in some:
            paragraphs = plain(some[name]).split("\n\n")
            return "\n\n".join([f"{name} ({title.lower()})", *(_filled(p, width) for p in paragraphs)])
    hint = did_you_mean(name, {name for some in kinds.values() for name in some})
    raise ConfigError(f"no clause is called '{name}'.{hint}\n  all clauses: python -m spectranet.testing")


def markdown() -> str:
    """The text of ``docs/conformance.md``; a clause's heading is its name, and so is its anchor."""
    parts = [_INTRODUCTION]
    for title, some in clauses().items():
        parts.append(f"## {title}\n")
        for name, text in some.items():
            what, _, how = plain(text).partition("\n\n")
            parts.append(f"### {name}\n\n**{what}**\n" + (f"\n{how}\n" if how else ""))
    return "\n".join(parts)


def _filled(paragraph: str, width: int) -> str:
    """Prose in lines of ``width``; lists and examples stay as they are."""
    if any(line.startswith((" ", "- ")) for line in paragraph.splitlines()):
        return paragraph
    return textwrap.fill(" ".join(paragraph.split()), width, break_long_words=False, break_on_hyphens=False)
