"""Tasks of the repository: ``nox -l`` lists them, ``nox -s NAME`` runs one, plain ``nox`` runs what CI runs.

Environments live in .nox/ and are reused; every run asks the installer again, so a changed requirement is
noticed. Words after ``--`` go to pytest: ``nox -s tests -- -k contrastive``.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nox

ROOT = Path(__file__).parent
DIST = ROOT / "dist"
WHEEL_TESTS = ROOT / "tests" / "wheels"
# A plugin for the contract of 0.1: what a first-party plugin alone trains beside.
PARTNER = DIST / "for-tests" / "spectranet_tides-0.1.0-py3-none-any.whl"
PACKAGES = ("core", "text", "vision", "audio", "objectives")

nox.needs_version = ">=2025.11.12"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "tests", "test", "isolated", "docs", "lowest", "wheels"]

# Many tests start processes that import torch, which takes twice as long where compiled modules are not kept.
KEEP_COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}
# One thread a process: the tests' tensors are small, and the processes share the cores.
QUIET = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **KEEP_COMPILED}
FAST = ("-m", "not slow")  # where tests run a second time, with other packages installed


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
    """One package's fast tests where only it and the core are installed."""
    install(session, packages=sorted({"core", package}), groups=("test",))
    pytest(session, f"packages/{package}/tests", *FAST, *session.posargs)


@nox.session
def isolated(session: nox.Session) -> None:
    """Training without the audio plugin, where nothing of audio is installed."""
    install(session, packages=("core", "text", "vision", "objectives"), groups=("test",))
    pytest(session, "tests/isolated", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The site of the documents, into site/; a link or an anchor that leads nowhere is an error."""
    session.install(*group("docs"), *group("test"))
    session.run("mkdocs", "build", "--strict", env={"NO_MKDOCS_2_WARNING": "1"})
    session.run("pytest", "tests/site")


@nox.session
def build(session: nox.Session) -> None:
    """Source archives and wheels of all packages, into dist/."""
    session.install(*group("build"))
    for old in DIST.glob("spectranet*"):
        old.unlink()
    for package in PACKAGES:
        into_dist = ("--no-isolation", "--outdir", "dist")
        session.run("python", "-m", "build", *into_dist, f"packages/{package}", silent=True)
    build_partner(session)


def build_partner(session: nox.Session) -> None:
    beside = ("--wheel", "--no-isolation", "--outdir", str(PARTNER.parent))
    session.run("python", "-m", "build", *beside, "tests/compatibility/plugin_0_1", silent=True)


@nox.session(requires=["build"])
def wheels(session: nox.Session) -> None:
    """The wheels in clean environments: core alone, with each plugin, all; then each tests/wheels/*.py.

    Names after ``--`` choose scripts: ``nox -s wheels -- first_plugin``. A script gets the folder of the
    wheels and runs in an empty folder away from the sources. It may install: before the next one the
    environment is put right.
    """
    if not session.posargs:
        alone(session, [wheel_of("core")], "tides")
        for plugin in PACKAGES[1:]:
            alone(session, [wheel_of("core"), wheel_of(plugin)], plugin, "tides")
    for script in sorted(WHEEL_TESTS.glob("*.py")):
        if not session.posargs or script.stem in session.posargs:
            only(session, [wheel_of(package) for package in PACKAGES])
            run_script(session, script)


def wheel_of(package: str, folder: Path = DIST) -> Path:
    (wheel,) = folder.glob(f"spectranet_{package}-*.whl")
    return wheel


def alone(session: nox.Session, wheels: Sequence[Path], *plugins: str) -> None:
    """These wheels install, load and, with a partner that brings what they lack, train."""
    only(session, wheels)
    run_script(session, WHEEL_TESTS / "installed.py", *map(distribution_of, wheels))
    session.install("--no-deps", str(PARTNER))
    run_script(session, WHEEL_TESTS / "trains.py", *plugins)


def distribution_of(wheel: Path) -> str:
    return wheel.name.partition("-")[0].replace("_", "-")


def only(session: nox.Session, wheels: Sequence[Path]) -> None:
    """Bring the environment to these of our wheels, what they require, and pip."""
    distributions = [distribution_of(wheel) for wheel in wheels]
    exact = []
    if session.venv_backend == "uv":
        # a version that is built again has other contents
        exact = ["--exact", *(f"--reinstall-package={name}" for name in distributions)]
    else:  # pip takes nothing away
        names = session.run("python", "-m", "pip", "freeze", "--exclude", "pip", silent=True) or ""
        spare = [re.split(r"==| @ ", line)[0] for line in names.splitlines()]
        if spare:
            session.run("python", "-m", "pip", "uninstall", "--yes", *spare, silent=True)
    session.install(*exact, "--constraint", str(ROOT / "constraints.txt"), "pip", *map(str, wheels))
    session.run("python", "-m", "pip", "check")
    # pip's own resolver is content with what is there, whoever installed it
    offline = ("--no-index", "--find-links", str(DIST))
    session.run("python", "-m", "pip", "install", *offline, *distributions, silent=True)


def run_script(session: nox.Session, script: Path, *arguments: str) -> None:
    """In an empty folder, away from the sources."""
    session.chdir(ROOT)  # what nox names is relative to it
    here = ROOT / session.create_tmp() / script.stem
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    session.chdir(here)
    found_here = {"PIP_FIND_LINKS": str(DIST), "UV_FIND_LINKS": str(DIST)}
    session.run("python", str(script), str(DIST), *arguments, env=QUIET | found_here)


# Of the core's tests those that lean on its requirements: tables, files, configuration, stores.
LEAN_ON_LIBRARIES = (
    "builtin", "checkpoint", "cli", "config", "data_readers", "data_remote", "data_store", "plain_yaml",
    "plan", "plugins", "report", "sinks", "step",
)  # fmt: skip


@nox.session
@nox.parametrize("package", PACKAGES, ids=PACKAGES)
def lowest(session: nox.Session, package: str) -> None:
    """One package's fast tests with the oldest core, and the oldest libraries, that it admits."""
    if session.venv_backend != "uv":
        session.skip("uv alone resolves to the lowest versions:  python -m pip install uv")
    wanted = ["--editable", f"packages/{package}"]
    chosen = [f"packages/core/tests/test_{name}.py" for name in LEAN_ON_LIBRARIES]
    if package != "core":
        wanted += [oldest_core(session, package), *project("core")["dependencies"]]
        chosen = [f"packages/{package}/tests"]
    from_below = ("--exact", "--reinstall-package=spectranet-core", "--resolution=lowest-direct")
    session.install(*from_below, "--constraint", "constraints.txt", *wanted)
    session.install("--constraint", "constraints.txt", *group("test"), *group("test", pyproject_of(package)))
    session.run("uv", "pip", "list", external=True)
    pytest(
        session, *chosen, *FAST, "--ignore-glob", "*conformance*", *session.posargs
    )  # the kit came with 0.2


def oldest_core(session: nox.Session, package: str) -> str:
    """The wheel of the oldest core that a package admits, from the repository's own history."""
    session.install(*group("build"))
    command = ("python", "releasing/history.py", package, str(DIST / "lowest"))
    said = (session.run(*command, silent=True, success_codes=[0, 3]) or "").strip()
    if not said.endswith(".whl"):
        session.skip(said)
    return said.splitlines()[-1]


@nox.session
def release(session: nox.Session) -> None:
    """What a tag would publish, into dist/release/: ``nox -s release -- spectranet-audio-v0.2.0``.

    Wheel and source archive, tested in a clean environment with the oldest core they admit, and the notes
    (dist/release-notes.md); nothing where the tag does not fit. docs/releasing.md says who does what.
    """
    if len(session.posargs) != 1:
        session.error("name the tag:  nox -s release -- spectranet-audio-v0.2.0")
    session.install(*group("build"))
    notes = DIST / "release-notes.md"
    said = session.run("python", "releasing/check.py", *session.posargs, "--notes", str(notes), silent=True)
    package = str(said).strip().removeprefix("packages/")
    made = DIST / "release"
    shutil.rmtree(made, ignore_errors=True)
    session.run(
        "python", "-m", "build", "--no-isolation", "--outdir", str(made), f"packages/{package}", silent=True
    )
    build_partner(session)
    wheels = [wheel_of(package, made)]
    if package != "core":
        wheels.insert(0, Path(oldest_core(session, package)))
    alone(session, wheels, *([] if package == "core" else [package]), "tides")
    session.log(f"ready: {', '.join(sorted(path.name for path in made.iterdir()))}; notes in {notes}")


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
            wanted += group("test", pyproject_of(package))
    # pip cannot take away what is no longer required: after such a change, `nox --no-reuse-venv` once.
    exact = ["--exact"] if session.venv_backend == "uv" else []
    session.install(*exact, "--constraint", "constraints.txt", *wanted)


def pyproject_of(package: str) -> str:
    return f"packages/{package}/pyproject.toml"


def project(package: str) -> dict[str, Any]:
    table: dict[str, Any] = nox.project.load_toml(ROOT / pyproject_of(package))["project"]
    return table


def group(name: str, pyproject: str = "pyproject.toml") -> list[str]:
    """The requirements of a dependency group; none where a package has no such group."""
    declared = nox.project.load_toml(ROOT / pyproject)
    if name not in declared.get("dependency-groups", {}):
        return []
    return list(nox.project.dependency_groups(declared, name))


def pytest(session: nox.Session, *arguments: str) -> None:
    # A file's tests stay in one process: what its fixtures start, ranks above all, is started once.
    spread = ("--numprocesses=logical", "--maxprocesses=8", "--dist=loadfile")
    session.run("pytest", *spread, *arguments, env=QUIET)
