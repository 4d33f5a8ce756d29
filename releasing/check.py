"""May this tag be released? ``python releasing/check.py spectranet-audio-v0.2.0 --notes FILE``

Says everything that is wrong, and ends with code 1; else prints the package's folder and writes what its
changelog says of the version to FILE.
"""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess
import sys
from pathlib import Path

from history import ROOT, commit_of, current_version, is_released, lowest_core, requirements
from packaging.version import Version

TAG = re.compile(r"spectranet-(?P<package>[a-z]+)-v(?P<version>\d+\.\d+\.\d+)")


def problems(tag: str, root: Path) -> list[str]:
    """A sentence each, with what to do."""
    found = TAG.fullmatch(tag)
    packages = sorted(path.parent.name for path in (root / "packages").glob("*/pyproject.toml"))
    if found is None or found["package"] not in packages:
        return [f"'{tag}' is no tag of a release: spectranet-NAME-vX.Y.Z, NAME one of {', '.join(packages)}."]
    package, version = found["package"], Version(found["version"])
    return [
        *version_problems(package, version, root),
        *changelog_problems(package, version, root),
        *requirement_problems(package, root),
        *commit_problems(tag, package, root),
    ]


def version_problems(package: str, version: Version, root: Path) -> list[str]:
    current = current_version(package, root)
    if current == version:
        return []
    return [f"the tag says {version}, but __version__ of packages/{package} is {current}: make them one."]


def changelog_problems(package: str, version: Version, root: Path) -> list[str]:
    file = f"packages/{package}/CHANGELOG.md"
    headings = re.findall(r"^## (\S+) \((.+)\)$", (root / file).read_text(encoding="utf-8"), re.MULTILINE)
    if not headings or headings[0][0] != str(version):
        newest = headings[0][0] if headings else "nothing"
        return [f"{file} begins with {newest} rather than {version}."]
    try:
        datetime.date.fromisoformat(headings[0][1])
    except ValueError:
        return [f"{file}: {version} is '{headings[0][1]}'; write the day, as in (2026-11-22)."]
    if not section(package, version, root):
        return [f"{file} says nothing of {version}: a line per thing that a user sees."]
    return []


def requirement_problems(package: str, root: Path) -> list[str]:
    if package == "core":
        return []
    file = f"packages/{package}/pyproject.toml"
    found = []
    for each in requirements(package, root):
        if each.name.startswith("spectranet-") and not any(
            clause.operator == "<" for clause in each.specifier
        ):
            found.append(f"{file}: '{each}' has no cap; add <1, the contract's next major.")
    lowest = lowest_core(package, root)
    if not is_released("spectranet-core", lowest, root):
        found.append(
            f"{file} admits spectranet-core {lowest}, which has not been released."
            f" Release it first: tag spectranet-core-v{lowest}."
        )
    return found


def commit_problems(tag: str, package: str, root: Path) -> list[str]:
    """What is built must be what is tagged."""
    found = []
    if _git(root, "tag", "--list", tag):
        tagged = commit_of(f"spectranet-{package}", Version(tag.rpartition("-v")[2]), root)
        if tagged != _git(root, "rev-parse", "HEAD"):
            found.append(f"{tag} is commit {tagged[:12]}, but another is checked out: git checkout {tag}")
    if changed := _git(root, "status", "--porcelain", "--", f"packages/{package}"):
        found.append(f"packages/{package} has changes that are not committed:\n    {changed}")
    return found


def section(package: str, version: Version, root: Path) -> str:
    """What the changelog says of a version, without its heading."""
    text = (root / "packages" / package / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(str(version))} .*?\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
    if done.returncode:  # nothing is released where git cannot say what is tagged and what is changed
        sys.exit(f"error: git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tag")
    parser.add_argument("--notes", type=Path, help="where the notes of the release go")
    parser.add_argument("--root", type=Path, default=ROOT, help="the clone that is released from")
    asked = parser.parse_args()
    if found := problems(asked.tag, asked.root):
        sys.exit("\n".join([f"error: {asked.tag} cannot be released:", *(f"  - {each}" for each in found)]))
    package, version = TAG.fullmatch(asked.tag).groups()  # type: ignore[union-attr]
    if asked.notes:
        asked.notes.parent.mkdir(parents=True, exist_ok=True)
        asked.notes.write_text(section(package, Version(version), asked.root) + "\n", encoding="utf-8")
    print(f"packages/{package}")


if __name__ == "__main__":
    main()
