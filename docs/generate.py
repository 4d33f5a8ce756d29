"""Write the pages of docs/ that are made from sources.    python docs/generate.py

They are kept in the repository, so that they can be read there as well as on the site, and
tests/test_reference.py holds them up to date. Docstrings are read by griffe, of dependency group ``test``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "generators"))
import contracts
import hooks
import names
from sources import Source

DOCS = Path(__file__).parent


def links(page: str) -> dict[str, str]:
    """Where each documented name is, seen from a page of docs/reference/."""
    declared = contracts.sections(Source.read(contracts.SOURCE))
    places = {name: "contracts.md" for some in declared.values() for name in some}
    places |= dict.fromkeys(names.documented(), "names.md")
    anchored = {name: f"{file}#{name.lower()}" for name, file in places.items()}
    return {name: link.removeprefix(page) for name, link in anchored.items()}


def pages() -> Mapping[str, str]:
    """Path below docs/ -> text, of every page that is made of sources alone."""
    return {
        "reference/contracts.md": contracts.contracts_page(links("contracts.md")),
        "reference/hooks.md": hooks.hooks_page(links("hooks.md")),
        "reference/names.md": names.names_page(links("names.md")),
    }


def conformance() -> str:
    """The page of all clauses, which the kit makes itself; its own test holds it up to date."""
    from spectranet.testing.clause_pages import markdown  # imports torch

    return markdown()


def main() -> None:
    for path, text in {**pages(), "conformance.md": conformance()}.items():
        if not (DOCS / path).exists() or (DOCS / path).read_text() != text:
            (DOCS / path).write_text(text)
            print(f"written: docs/{path}")


if __name__ == "__main__":
    main()
