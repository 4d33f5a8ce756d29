"""Tasks of the repository: ``nox -l`` lists them, ``nox -s NAME`` runs one, plain ``nox`` runs what CI runs.

Environments live in .nox/ and are reused; every run asks the installer again, so a changed requirement is
noticed. Words after ``--`` go to pytest: ``nox -s tests -- -k contrastive``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PACKAGES = ("core", "text", "vision", "audio", "objectives")

nox.needs_version = ">=2025.11.12"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "tests", "test", "isolated", "wheels"]

# Many tests start processes that import torch, which takes twice as long where compiled modules are not kept.
KEEP_COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}
# One thread a process: the tests' tensors are small, and the processes share the cores.
QUIET = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **KEEP_COMPILED}


@nox.session
def lint(session: nox.Session) -> None:
    """Format, style and types."""
    install(session, packages=PACKAGES, groups=("test", "lint"))
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """The whole suite, all packages installed."""
    install(session, packages=PACKAGES, groups=("test",))
    pytest(session, *session.posargs)


@nox.session
@nox.parametrize("package", PACKAGES, ids=PACKAGES)
def test(session: nox.Session, package: str) -> None:
    """One package's tests where only it and the core are installed."""
    install(session, packages=sorted({"core", package}), groups=("test",))
    pytest(session, f"packages/{package}/tests", *session.posargs)


@nox.session
def isolated(session: nox.Session) -> None:
    """Training without the audio plugin, where nothing of audio is installed."""
    install(session, packages=("core", "text", "vision", "objectives"), groups=("test",))
    pytest(session, "tests/isolated", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Source archives and wheels of all packages, into dist/."""
    session.install(*group("build"))
    for old in (ROOT / "dist").glob("spectranet*"):
        old.unlink()
    for package in PACKAGES:
        into_dist = ("--no-isolation", "--outdir", "dist")
        session.run("python", "-m", "build", *into_dist, f"packages/{package}", silent=True)


@nox.session(requires=["build"], reuse_venv=False)
def wheels(session: nox.Session) -> None:
    """The five wheels in a clean environment: they install, import and answer."""
    built = sorted((ROOT / "dist").glob("*.whl"))
    session.install("--constraint", "constraints.txt", *map(str, built))
    session.chdir(session.create_tmp())  # away from the sources
    session.run("spectranet", "--help", silent=True)
    session.run("spectranet", "plugins")
    session.run("spectranet", "config", "show", "--config", "tiny", silent=True)  # presets are inside
    session.run("python", str(ROOT / "tests" / "smoke_wheels.py"))


@nox.session
def bench(session: nox.Session) -> None:
    """A benchmark with its peers: ``nox -s bench -- loader --quick``."""
    if not session.posargs:
        session.error("name one:  nox -s bench -- loader --quick")
    install(session, packages=PACKAGES, groups=("test", "bench"))
    script, *options = session.posargs
    session.run("python", f"benchmarks/{script}.py", *options)


@nox.session
def demo(session: nox.Session) -> None:
    """Sample data, training and report of the README, into runs/demo/."""
    install(session, packages=PACKAGES)
    session.run("python", "demo/run.py", *session.posargs, env=KEEP_COMPILED)


def install(session: nox.Session, packages: Sequence[str], groups: Sequence[str] = ()) -> None:
    """Bring the environment to exactly these packages (editable), tool groups and test oracles."""
    wanted = [requirement for name in groups for requirement in group(name)]
    for package in packages:
        wanted += ["--editable", f"packages/{package}"]
        if "test" in groups:
            wanted += group("test", f"packages/{package}/pyproject.toml")
    # pip cannot take away what is no longer required: after such a change, `nox --no-reuse-venv` once.
    exact = ["--exact"] if session.venv_backend == "uv" else []
    session.install(*exact, "--constraint", "constraints.txt", *wanted)


def group(name: str, pyproject: str = "pyproject.toml") -> list[str]:
    """The requirements of a dependency group; none where a package has no such group."""
    declared = nox.project.load_toml(ROOT / pyproject)
    if name not in declared.get("dependency-groups", {}):
        return []
    return list(nox.project.dependency_groups(declared, name))


def pytest(session: nox.Session, *arguments: str) -> None:
    session.run("pytest", "--numprocesses=logical", "--maxprocesses=8", *arguments, env=QUIET)
