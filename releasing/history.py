"""Which commit is a version, and how is its wheel made again?

``python releasing/history.py PACKAGE OUTDIR`` writes the wheel of the oldest core that a package admits, from
the repository's own history, and prints its path. It ends with code 3, and a line that says what lacks, where
this clone does not have that commit.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from io import BytesIO
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
RECORDED = "tests/compatibility/releases.toml"
NOT_HERE = 3


class NotHereError(Exception):
    """This clone cannot say what a version was."""


def current_version(package: str, root: Path = ROOT) -> Version:
    """What the sources call themselves."""
    module = "spectranet" if package == "core" else f"spectranet_{package}"
    text = (root / "packages" / package / "src" / module / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if found is None:
        raise ValueError(f"{module} has no __version__")
    return Version(found[1])


def requirements(package: str, root: Path = ROOT) -> list[Requirement]:
    file = root / "packages" / package / "pyproject.toml"
    return [Requirement(line) for line in tomllib.loads(file.read_text())["project"]["dependencies"]]


def lowest_core(package: str, root: Path = ROOT) -> Version:
    """The oldest core that a package admits, with three numbers as releases have."""
    (core,) = [each for each in requirements(package, root) if each.name == "spectranet-core"]
    (least,) = [Version(clause.version) for clause in core.specifier if clause.operator == ">="]
    return Version(f"{least.major}.{least.minor}.{least.micro}")


def commit_of(distribution: str, version: Version, root: Path = ROOT) -> str:
    """The commit that a version was released from: its tag's, else the one that is recorded.

    Raises:
        NotHereError: there is neither, or this clone lacks the commit, as shallow ones do.
    """
    tag = f"{distribution}-v{version}"
    if found := _git(root, "rev-parse", "--verify", "--quiet", f"refs/tags/{tag}^{{commit}}"):
        return found.strip().decode()
    recorded = tomllib.loads((root / RECORDED).read_text()).get(distribution, {}).get(str(version))
    if recorded is None:
        raise NotHereError(f"{distribution} {version} is not here: no tag {tag}, and no line in {RECORDED}.")
    if _git(root, "cat-file", "-e", f"{recorded}^{{commit}}") is None:
        raise NotHereError(
            f"{distribution} {version} is commit {recorded[:12]}, which is not in this clone:\n"
            "  git fetch --unshallow"
        )
    return str(recorded)


def is_released(distribution: str, version: Version, root: Path = ROOT) -> bool:
    try:
        commit_of(distribution, version, root)
    except NotHereError:
        return False
    return True


def core_wheel(version: Version, outdir: Path, root: Path = ROOT) -> Path:
    """The wheel of a core: of these sources where they are it, else of the commit that was.

    Raises:
        NotHereError: see :func:`commit_of`.
    """
    if version == current_version("core", root):
        return build_wheel(root / "packages" / "core", outdir)
    archive = _git(
        root, "archive", "--format=tar", commit_of("spectranet-core", version, root), "packages/core"
    )
    assert archive is not None
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
        return build_wheel(Path(folder) / "packages" / "core", outdir)


def build_wheel(project: Path, outdir: Path) -> Path:
    with tempfile.TemporaryDirectory() as made:
        # in the environment's own hatchling: nothing is downloaded
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", made, str(project)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        (wheel,) = Path(made).glob("*.whl")
        outdir.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(wheel, outdir / wheel.name))


def _git(root: Path, *arguments: str) -> bytes | None:
    """What git prints; None where it fails."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True)
    return done.stdout if done.returncode == 0 else None


if __name__ == "__main__":
    try:
        print(core_wheel(lowest_core(sys.argv[1]), Path(sys.argv[2])))
    except NotHereError as missing:
        print(missing)
        raise SystemExit(NOT_HERE) from None
