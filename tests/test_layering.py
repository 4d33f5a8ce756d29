"""Arrows point one way: plugins need the core's public names, the core no plugin, plugins never each other.

The imports are read, not run; addresses in strings (``lazy("package.module:name")``) count as imports.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from spectranet.testing.package.imported_names import CORE, Import, imports, is_public

PACKAGES = Path(__file__).parents[1] / "packages"
PLUGINS = frozenset(f"spectranet_{folder.name}" for folder in PACKAGES.iterdir() if folder.name != "core")
PLUGIN_MODULES = (
    "spectranet.builtin",
    "spectranet_audio.plugin",
    "spectranet_objectives.plugin",
    "spectranet_text.plugin",
    "spectranet_vision.plugin",
)
HEAVY = ("torch", "torchaudio", "torchvision", "transformers")


def breach(found: Import, importer: str, in_tests: bool) -> str:
    """Why ``importer`` must not import this; empty where it may."""
    if found.package == importer or found.package not in {CORE, *PLUGINS}:
        return ""
    if importer == CORE:
        return "the core imports no plugin"
    if found.package != CORE:
        return "plugins never import each other"
    # Stricter than the kit, which takes `import spectranet` too: here there is one way to write it.
    if is_public(found, in_tests) and found.name not in ("", "*"):
        return ""
    return "a plugin imports only names in spectranet.__all__, as `from spectranet import name`"


def breaches(packages: Path) -> list[str]:
    """``file:line: module name: reason`` for every arrow that turns back under a packages folder."""
    found = []
    for folder in sorted(packages.iterdir()):
        importer = CORE if folder.name == "core" else f"spectranet_{folder.name}"
        for path in sorted((folder / "src").rglob("*.py")) + sorted((folder / "tests").rglob("*.py")):
            in_tests = path.relative_to(folder).parts[0] == "tests"
            for each in imports(path.read_text()):
                if reason := breach(each, importer, in_tests):
                    where = f"{path.relative_to(packages).as_posix()}:{each.line}"
                    found.append(f"{where}: {each.module} {each.name}: {reason}")
    return found


def test_no_arrow_turns_back() -> None:
    assert breaches(PACKAGES) == []


@pytest.mark.parametrize(
    ("path", "line", "reason"),
    [
        ("core/src/spectranet/x.py", "import spectranet_text", "the core imports no plugin"),
        (
            "core/src/spectranet/x.py",
            "open = lazy('spectranet_text.reader:open')",
            "the core imports no plugin",
        ),
        (
            "core/tests/test_x.py",
            "from spectranet_vision.plugin import modalities",
            "the core imports no plugin",
        ),
        (
            "text/src/spectranet_text/x.py",
            "from spectranet_audio import y",
            "plugins never import each other",
        ),
        ("text/tests/test_x.py", "def f():\n    import spectranet_objectives.plugin", "plugins never import"),
        (
            "text/src/spectranet_text/x.py",
            "from spectranet.train import loop",
            "only names in spectranet.__all__",
        ),
        (
            "text/src/spectranet_text/x.py",
            "from spectranet import plugins",
            "only names in spectranet.__all__",
        ),
        ("text/src/spectranet_text/x.py", "import spectranet", "only names in spectranet.__all__"),
        ("text/src/spectranet_text/x.py", "lazy('spectranet.train:run')", "only names in spectranet.__all__"),
        (
            "text/src/spectranet_text/x.py",
            "from spectranet.testing import kit",
            "only names in spectranet.__all__",
        ),
    ],
)
def test_each_kind_of_turned_arrow_is_found(tmp_path: Path, path: str, line: str, reason: str) -> None:
    planted = tmp_path / path
    planted.parent.mkdir(parents=True)
    planted.write_text(f'"""A planted file."""\n{line}\n')

    (only,) = breaches(tmp_path)

    assert only.startswith(f"{path}:") and reason in only


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("core/src/spectranet/x.py", "from spectranet.train.loop import train\nimport torch"),
        (
            "text/src/spectranet_text/x.py",
            "from spectranet import Encoded, lazy\nlazy('spectranet_text.x:f')",
        ),
        ("text/src/spectranet_text/x.py", "words = ['spectranet', 'spectranet_modalities']"),
        ("text/tests/test_x.py", "from spectranet.testing import kit\nfrom spectranet_text.plugin import y"),
    ],
)
def test_what_is_allowed_is_not_reported(tmp_path: Path, path: str, line: str) -> None:
    allowed = tmp_path / path
    allowed.parent.mkdir(parents=True)
    allowed.write_text(line)

    assert breaches(tmp_path) == []


@pytest.mark.parametrize("module", ["spectranet", "spectranet.plugins", "spectranet.cli", *PLUGIN_MODULES])
def test_what_start_up_reads_imports_no_deep_learning(module: str) -> None:
    program = f"import sys, {module}; print(*sorted(set({HEAVY}) & set(sys.modules)))"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert loaded.stdout.split() == []
