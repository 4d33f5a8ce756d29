"""A tag is released where everything agrees with it; what does not is said, with what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

ROOT = Path(__file__).parents[1]
CHECK = ROOT / "releasing" / "check.py"


def git(clone: Path, *arguments: str) -> str:
    who = ("-c", "user.name=releaser", "-c", "user.email=releaser@example.org")
    done = subprocess.run(["git", *who, *arguments], cwd=clone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check(clone: Path, tag: str) -> CompletedProcess[str]:
    command = [
        sys.executable,
        str(CHECK),
        tag,
        "--root",
        str(clone),
        "--notes",
        str(clone.parent / "notes.md"),
    ]
    return subprocess.run(command, capture_output=True, text=True)


def refusal(clone: Path, tag: str) -> list[str]:
    done = check(clone, tag)
    assert done.returncode == 1, done.stdout
    first, *rest = done.stderr.splitlines()
    assert first == f"error: {tag} cannot be released:"
    return [line.removeprefix("  - ") for line in rest]


def edit(clone: Path, file: str, pattern: str, replacement: str) -> None:
    text = (clone / file).read_text()
    changed = re.sub(pattern, replacement, text, count=1, flags=re.MULTILINE)
    assert changed != text
    (clone / file).write_text(changed)


def commit(clone: Path) -> None:
    git(clone, "commit", "--quiet", "--all", "--message", "edited")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of this repository in which core and vision are 9.1.0, of a day, and vision needs that core."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs the repository's history")
    git(tmp_path, "clone", "--quiet", "--shared", "--no-tags", str(ROOT), "clone")
    clone = tmp_path / "clone"
    for package, module in (("core", "spectranet"), ("vision", "spectranet_vision")):
        edit(
            clone,
            f"packages/{package}/src/{module}/__init__.py",
            r'^__version__ = ".*"',
            '__version__ = "9.1.0"',
        )
        heading = "## 9.1.0 (2026-12-24)\n\n- Better.\n- Faster.\n\n## "
        edit(clone, f"packages/{package}/CHANGELOG.md", "^## ", heading)
    edit(clone, "packages/vision/pyproject.toml", r'"spectranet-core>=.*"', '"spectranet-core>=9.1,<10"')
    commit(clone)
    return clone


def test_a_tag_is_released_where_everything_agrees(clone: Path) -> None:
    for package in ("core", "vision"):
        tag = f"spectranet-{package}-v9.1.0"
        git(clone, "tag", tag)

        done = check(clone, tag)

        assert (done.returncode, done.stdout) == (0, f"packages/{package}\n"), done.stderr
        assert (clone.parent / "notes.md").read_text() == "- Better.\n- Faster.\n"


def test_a_core_that_nobody_can_install_is_no_lower_bound(clone: Path) -> None:
    assert refusal(clone, "spectranet-vision-v9.1.0") == [
        "packages/vision/pyproject.toml admits spectranet-core 9.1.0, which has not been released."
        " Release it first: tag spectranet-core-v9.1.0."
    ]
    edit(clone, "packages/vision/pyproject.toml", r'"spectranet-core>=.*"', '"spectranet-core>=0.1,<1"')
    commit(clone)
    assert check(clone, "spectranet-vision-v9.1.0").returncode == 0  # recorded, though it has no tag


def test_everything_that_disagrees_is_said_at_once(clone: Path) -> None:
    edit(clone, "packages/vision/CHANGELOG.md", "2026-12-24", "unreleased")
    edit(clone, "packages/vision/pyproject.toml", r'"spectranet-core>=.*"', '"spectranet-core>=0.1"')
    edit(clone, "packages/vision/src/spectranet_vision/__init__.py", "9[.]1[.]0", "9.1.1")
    commit(clone)
    (clone / "packages/vision/README.md").write_text("A word that nobody committed.")

    assert refusal(clone, "spectranet-vision-v9.1.0") == [
        "the tag says 9.1.0, but __version__ of packages/vision is 9.1.1: make them one.",
        "packages/vision/CHANGELOG.md: 9.1.0 is 'unreleased'; write the day, as in (2026-11-22).",
        "packages/vision/pyproject.toml: 'spectranet-core>=0.1' has no cap; add <1, the contract's next"
        " major.",
        "packages/vision has changes that are not committed:",
        "    M packages/vision/README.md",
    ]


def test_another_commit_than_the_tagged_is_not_released(clone: Path) -> None:
    git(clone, "tag", "spectranet-core-v9.1.0")
    tagged = git(clone, "rev-parse", "HEAD")[:12]
    edit(clone, "packages/core/README.md", r"\A", "Something else. ")
    commit(clone)

    assert refusal(clone, "spectranet-core-v9.1.0") == [
        f"spectranet-core-v9.1.0 is commit {tagged}, but another is checked out:"
        " git checkout spectranet-core-v9.1.0"
    ]


def test_the_changelog_begins_with_what_is_released(clone: Path) -> None:
    edit(clone, "packages/core/CHANGELOG.md", "^## 9[.]1[.]0", "## 9.0.0")
    commit(clone)

    assert refusal(clone, "spectranet-core-v9.1.0") == [
        "packages/core/CHANGELOG.md begins with 9.0.0 rather than 9.1.0."
    ]


def test_what_is_no_clone_releases_nothing(clone: Path) -> None:
    shutil.rmtree(clone / ".git")

    done = check(clone, "spectranet-core-v9.1.0")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: git tag --list spectranet-core-v9.1.0: fatal: not a git repository")


@pytest.mark.parametrize("tag", ["v0.2.0", "spectranet-lidar-v0.2.0", "spectranet-core-0.2.0"])
def test_a_tag_names_package_and_version(tag: str) -> None:
    assert refusal(ROOT, tag) == [
        f"'{tag}' is no tag of a release: spectranet-NAME-vX.Y.Z,"
        " NAME one of audio, core, objectives, text, vision."
    ]
