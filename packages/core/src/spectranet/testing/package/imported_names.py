"""Which names does a source import? Its imports are read, not run.

Addresses in strings (``lazy("package.module:name")``) count as imports, and so do attributes of an imported
``spectranet`` (``spectranet.train``).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

import spectranet

__all__ = ["CORE", "Import", "imports", "is_public"]

CORE = "spectranet"

_ADDRESS = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Import:
    """One imported thing: ``from module import name``, or the module itself when ``name`` is empty."""

    module: str
    name: str
    line: int

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.module}.{self.name}" if self.name else self.module


def imports(source: str, filename: str = "<source>") -> Iterator[Import]:
    """Everything that a file imports, at the top, inside functions, for typing, or by address.

    Raises:
        SyntaxError: it is no Python; says which file.
    """
    tree = ast.parse(source, filename)
    core = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == CORE
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, "", node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (Import(node.module or "", alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in core:
            yield Import(CORE, node.attr, node.lineno)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if _ADDRESS.fullmatch(node.value):
                module, _, name = node.value.partition(":")
                yield Import(module, name, node.lineno)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            if node.args and isinstance(node.args[0], ast.Constant):
                yield Import(str(node.args[0].value), "", node.lineno)


def is_public(found: Import, in_tests: bool) -> bool:
    """Whether the core offers this name to plugins, ``spectranet.testing`` to their tests."""
    if found.module == CORE and found.name in (*spectranet.__all__, "*", "__version__", ""):
        return True
    kit = f"{CORE}.testing"
    return in_tests and (kit in (found.module, str(found)) or found.module.startswith(f"{kit}."))
