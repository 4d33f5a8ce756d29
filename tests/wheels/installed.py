"""What is installed is what was asked for, and it works: ``installed.py WHEELS [DISTRIBUTION …]``.

Run by ``nox -s wheels`` in clean environments, with the sources out of sight: all that WHEELS holds, or the
distributions that are named and nothing else of ours.
"""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from importlib.metadata import distributions, files, version
from pathlib import Path

NEEDS_AN_EXTRA = "spectranet.testing"  # spectranet-core[testing] brings pytest


def main(folder: str, *named: str) -> None:
    expected = set(named) or {
        path.name.split("-")[0].replace("_", "-") for path in Path(folder).glob("spectranet_*.whl")
    }
    found = {each.name for each in distributions() if each.name.startswith("spectranet-")}
    assert found == expected, f"installed: {sorted(found)}; expected: {sorted(expected)}"
    for distribution in sorted(expected):
        is_whole(distribution)
    plugins = sorted(name.removeprefix("spectranet-") for name in expected - {"spectranet-core"})
    answers(plugins)


def is_whole(distribution: str) -> None:
    """It comes from its wheel, has its version once, brings licence and types, and imports nothing it lacks."""
    package = "spectranet" if distribution == "spectranet-core" else distribution.replace("-", "_")
    module = importlib.import_module(package)
    assert "site-packages" in Path(str(module.__file__)).parts, f"{package} comes from {module.__file__}"
    assert module.__version__ == version(distribution), f"{distribution}: two versions"
    packed = {Path(str(file)).name for file in files(distribution) or ()}
    assert {"LICENSE", "py.typed"} <= packed, f"{distribution} lacks its licence or py.typed"
    modules = [each.name for each in pkgutil.walk_packages(module.__path__, f"{package}.")]
    for name in modules:
        if not name.startswith(NEEDS_AN_EXTRA) and not name.endswith(".__main__"):
            importlib.import_module(name)
    print(f"{distribution} {module.__version__}: {len(modules)} modules, licence inside")


def answers(plugins: list[str]) -> None:
    """The command line knows the plugins, each loads in a process of its own, presets are inside."""
    spectranet("--help")
    listed = spectranet("plugins")
    assert [name for name in plugins if f"\n{name} " not in listed] == [], listed
    print(spectranet("plugins", "--check"), end="")
    if {"text", "vision", "objectives"} <= set(plugins):
        spectranet("config", "show", "--config", "tiny")


def spectranet(*words: str) -> str:
    command = [str(Path(sys.executable).with_name("spectranet")), *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


if __name__ == "__main__":
    main(*sys.argv[1:])
