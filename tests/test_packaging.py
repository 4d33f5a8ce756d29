"""The five distributions agree with each other and with what they say of themselves."""

from __future__ import annotations

import ast
import importlib
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
MODULES = {
    "core": "spectranet",
    "text": "spectranet_text",
    "vision": "spectranet_vision",
    "audio": "spectranet_audio",
    "objectives": "spectranet_objectives",
}
# What only one modality needs must come with that modality's package.
OF_A_MODALITY = {
    "av", "pillow", "sentencepiece", "simplejpeg", "soundfile", "soxr",
    "torchaudio", "torchcodec", "torchvision", "transformers",
}  # fmt: skip

every_package = pytest.mark.parametrize("package", MODULES)


def pyproject(package: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / "packages" / package / "pyproject.toml").read_text())


def project(package: str) -> dict[str, Any]:
    table: dict[str, Any] = pyproject(package)["project"]
    return table


def requirements(package: str) -> list[Requirement]:
    return [Requirement(line) for line in project(package)["dependencies"]]


def oracles(package: str) -> list[Requirement]:
    """What its tests compare with."""
    return [Requirement(line) for line in pyproject(package).get("dependency-groups", {}).get("test", [])]


@every_package
def test_version_stands_once(package: str) -> None:
    assert "version" in project(package)["dynamic"]
    assert version(f"spectranet-{package}") == importlib.import_module(MODULES[package]).__version__


@every_package
def test_siblings_are_required_with_a_cap_that_admits_them(package: str) -> None:
    siblings = [each for each in requirements(package) if each.name.startswith("spectranet-")]

    assert [each.name for each in siblings] == ([] if package == "core" else ["spectranet-core"])
    for sibling in siblings:
        assert Version(version(sibling.name)) in sibling.specifier
        assert any(clause.operator == "<" for clause in sibling.specifier), f"{sibling} has no cap"


@every_package
def test_licence_and_changelog_are_in_the_package(package: str) -> None:
    folder = ROOT / "packages" / package

    assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert f"\n## {version(f'spectranet-{package}')} " in (folder / "CHANGELOG.md").read_text()
    assert len((folder / "README.md").read_text().splitlines()) > 5


@every_package
def test_every_imported_library_is_required(package: str) -> None:
    """Also where another library happens to bring it. The core's own (torch, numpy, click) come with it by
    contract, and optional ones may stand in an extra."""
    libraries = packages_distributions()
    extras = project(package).get("optional-dependencies", {}).values()
    required = {canonicalize_name(each.name) for each in requirements(package) + requirements("core")}
    required |= {canonicalize_name(Requirement(line).name) for lines in extras for line in lines}

    undeclared = set()
    for name in third_party_imports(ROOT / "packages" / package / "src"):
        offered_by = {canonicalize_name(each) for each in libraries.get(name, [name])}
        if not offered_by & required:
            undeclared.add(name)

    assert undeclared == set()


def third_party_imports(folder: Path) -> set[str]:
    """Top-level names that the sources import and that neither Python nor this repository brings."""
    names: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add((node.module or "").split(".")[0])
    return names - set(sys.stdlib_module_names) - set(MODULES.values())


def test_third_party_imports_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("import os\nimport spectranet\ndef f():\n    from soxr.core import g\n")

    assert third_party_imports(tmp_path) == {"soxr"}


def test_core_requires_no_library_of_a_modality() -> None:
    optional = project("core").get("optional-dependencies", {})
    of_extras = [Requirement(line) for lines in optional.values() for line in lines]

    assert {each.name for each in [*requirements("core"), *of_extras]} & OF_A_MODALITY == set()


def test_development_constraints_lie_within_the_packages_ranges() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    constraints = {each.name: each for line in lines if line[:1].isalpha() for each in [Requirement(line)]}
    of_all = [each for package in MODULES for each in [*requirements(package), *oracles(package)]]
    ranges = [each for each in of_all if each.name in constraints]

    assert {each.name for each in ranges} == set(constraints)
    for each in ranges:
        lowest = next(c.version for c in constraints[each.name].specifier if c.operator == ">=")
        assert Version(lowest) in each.specifier, f"{each} does not admit {lowest}"
