"""Files answer one question and functions fit on a screen."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = ("packages", "tests", "benchmarks", "demo", "examples", "docs")

FILE_LINES = 400
FUNCTION_LINES = 60  # without its docstring
LONGER_FILES = {
    "packages/core/src/spectranet/model/decoder.py": 600,
}
VAGUE_NAMES = {"utils.py", "helpers.py", "common.py", "misc.py"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def python_files(root: Path) -> list[Path]:
    inside = [path for folder in CODE for path in (root / folder).rglob("*.py")]
    return sorted(inside) + sorted(root.glob("*.py"))


def code_lines(function: Function) -> int:
    """Lines of a function, decorators and docstring left out."""
    first = function.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    documentation = (first.end_lineno or 0) - first.lineno + 1 if is_docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - documentation


def complaints(root: Path, longer_files: dict[str, int]) -> list[str]:
    """What breaks the habits under a root, a line each."""
    found = []
    for path in python_files(root):
        name = path.relative_to(root).as_posix()
        source = path.read_text()
        lines, allowed = len(source.splitlines()), longer_files.get(name, FILE_LINES)
        if lines > allowed:
            found.append(f"{name}: {lines} lines, at most {allowed}")
        if path.name in VAGUE_NAMES:
            found.append(f"{name}: the name does not say what is in it")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, Function) and code_lines(node) > FUNCTION_LINES:
                found.append(f"{name}: {node.name} has {code_lines(node)} lines, at most {FUNCTION_LINES}")
    return found


def test_files_and_functions_are_small() -> None:
    assert complaints(ROOT, LONGER_FILES) == []


def test_files_allowed_to_be_longer_are_still_there_and_within_reason() -> None:
    for name, lines in LONGER_FILES.items():
        assert (ROOT / name).is_file(), f"{name} is gone: take it off the list"
        assert lines <= 600


def test_each_kind_of_breach_is_found(tmp_path: Path) -> None:
    source = tmp_path / "packages" / "core"
    source.mkdir(parents=True)
    (source / "long.py").write_text("x = 1\n" * 401)
    (source / "utils.py").write_text("x = 1\n")
    (source / "screens.py").write_text("def f():\n" + "    x = 1\n" * 60)
    (source / "fine.py").write_text('def f():\n    """' + "\n" * 80 + '"""\n' + "    x = 1\n" * 58)

    assert complaints(tmp_path, {}) == [
        "packages/core/long.py: 401 lines, at most 400",
        "packages/core/screens.py: f has 61 lines, at most 60",
        "packages/core/utils.py: the name does not say what is in it",
    ]
    assert len(complaints(tmp_path, {"packages/core/long.py": 600})) == 2
