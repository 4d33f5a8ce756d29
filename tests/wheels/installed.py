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
        # importing every module of the core takes long; once, where nothing else is there, is enough
        is_whole(distribution, every_module=distribution != "spectranet-core" or len(expected) == 1)
    plugins = sorted(name.removeprefix("spectranet-") for name in expected - {"spectranet-core"})
    answers(plugins)


def is_whole(distribution: str, every_module: bool) -> None:
    """It comes from its wheel, has one version, brings licence and types, and imports nothing it lacks."""
    package = "spectranet" if distribution == "spectranet-core" else distribution.replace("-", "_")
    module = importlib.import_module(package)
    assert "site-packages" in Path(str(module.__file__)).parts, f"{package} comes from {module.__file__}"
    assert module.__version__ == version(distribution), f"{distribution}: two versions"
    packed = {Path(str(file)).name for file in files(distribution) or ()}
    assert {"LICENSE", "py.typed"} <= packed, f"{distribution} lacks its licence or py.typed"
    modules = pkgutil.walk_packages(module.__path__, f"{package}.") if every_module else ()
    names = [each.name for each in modules if not each.name.startswith(NEEDS_AN_EXTRA)]
    for name in names:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    print(f"{distribution} {module.__version__}: licence inside; {len(names) or 'no'} modules tried")


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
