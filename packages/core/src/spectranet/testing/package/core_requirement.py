"""What does a distribution require of the core? Its metadata say; ``packaging`` reads them."""

from __future__ import annotations

import importlib.metadata

from spectranet.plugins import PLUGIN_API

__all__ = ["requirement_flaw"]

CORE = "spectranet-core"
_LOWER = frozenset({">=", ">", "==", "===", "~="})
_UPPER = frozenset({"<", "<=", "==", "===", "~="})


def requirement_flaw(distribution: str) -> str:
    """What is wrong with its requirement on the core; empty where nothing is.

    Requirements of its extras do not count, nor those for other systems than this.
    """
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet
    from packaging.utils import canonicalize_name

    requirements = [Requirement(line) for line in importlib.metadata.requires(distribution) or []]
    of_core = [
        requirement
        for requirement in requirements
        if canonicalize_name(requirement.name) == CORE
        and (requirement.marker is None or requirement.marker.evaluate({"extra": ""}))
    ]
    if not of_core:
        others = ", ".join(requirement.name for requirement in requirements) or "nothing"
        return f"{distribution} does not require {CORE}; it requires {others}"
    versions = SpecifierSet()
    for requirement in of_core:
        versions &= requirement.specifier
    operators = {each.operator for each in versions}
    installed = importlib.metadata.version(CORE)
    flaws = []
    if not operators & _LOWER:
        flaws.append("no lower bound")
    if not operators & _UPPER:
        flaws.append("no upper cap")
    elif versions.contains(f"{PLUGIN_API + 1}.0"):
        flaws.append(f"a cap that admits {CORE} {PLUGIN_API + 1}.0, whose contract may be another")
    if not versions.contains(installed, prereleases=True):
        flaws.append(f"{installed}, which is installed, is left out")
    return f"{distribution} requires '{CORE}{versions}': {', '.join(flaws)}" if flaws else ""
