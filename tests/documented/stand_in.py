"""What stands on the PATH for programs that need a network, a cluster or eight GPUs.

Each checks its words as far as can be checked here, and ends with 2 and a line that says what is wrong with
them; ``torchrun`` and ``examples/torchrun.py`` run with two ranks.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from client import ask

HERE = Path(__file__).parent
PYTHON = os.environ["REAL_PYTHON"]
RANKS = "2"


def wrong(text: str) -> NoReturn:
    print(f"stand-in of {Path(sys.argv[0]).name}: {text}", file=sys.stderr)
    sys.exit(2)


def python(words: list[str]) -> int:
    """pip, torchrun and spectranet as modules or scripts; anything else is run."""
    if words[:2] == ["-m", "pip"]:
        return pip(words[2:])
    if words[:2] == ["-m", "venv"]:
        words = ["-m", "venv", "--without-pip", *words[2:]]
    if words[:2] == ["-m", "spectranet"]:
        return ask("spectranet", words[2:])
    if words[:2] == ["-m", "spectranet.testing"]:
        return ask("spectranet.testing", words[2:])
    if words and words[0].endswith("examples/torchrun.py"):
        return ask(str(Path(words[0]).resolve()), two_ranks(words[1:]))
    os.execv(PYTHON, [PYTHON, *words])


def pytest(words: list[str]) -> int:
    return ask("pytest", words)


def torchrun(words: list[str]) -> int:
    return ask("torchrun", two_ranks(words))


def two_ranks(words: list[str]) -> list[str]:
    """The words with two ranks on this machine, whose program is the warm one."""
    if "-m" not in words or words[words.index("-m") + 1] != "spectranet":
        wrong("-m spectranet is missing")
    cut = words.index("-m")
    options, command = words[:cut], words[cut + 2 :]
    for name, here in (("--nproc-per-node", RANKS), ("--nnodes", "1")):
        if name in options:
            options[options.index(name) + 1] = here
    if options[options.index("--nproc-per-node") + 1] != RANKS:
        wrong("how many ranks?")
    return [*options, "--no-python", str(Path(sys.argv[0]).parent / "spectranet"), *command]


def pip(words: list[str]) -> int:
    """Fetches nothing. Folders must be projects, constraints files, our names those of our packages."""
    from packaging.requirements import Requirement

    if words[:1] != ["install"]:
        wrong(f"pip {' '.join(words)}?")
    rest = iter(words[1:])
    for word in rest:
        if word in ("-c", "--constraint"):
            if not Path(next(rest)).is_file():
                wrong("no such file of constraints")
        elif word in ("-e", "--editable") or "/" in word:
            folder = Path(re.sub(r"\[.*\]$", "", next(rest) if word.startswith("-") else word))
            if not (folder / "pyproject.toml").is_file():
                wrong(f"{folder} is no project")
            put_on_path(folder)
        elif word in ("-U", "--upgrade", "--quiet"):
            continue
        elif word.startswith("-"):
            wrong(f"option {word}?")
        elif (name := Requirement(word).name).startswith("spectranet-"):
            root = Path(os.environ["SANDBOX"])
            places = [root / "packages" / name.removeprefix("spectranet-"), root / "examples" / name]
            found = [place for place in places if (place / "pyproject.toml").is_file()]
            if not found:
                wrong(f"nobody publishes {name}")
            put_on_path(found[0])
    return 0


def put_on_path(folder: Path) -> None:
    """An editable install of a plugin that is not in this environment: its modules and its entry points."""
    import tomllib

    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    points = project.get("entry-points", {})
    if (Path(os.environ["SANDBOX"]) / "packages").resolve() in folder.resolve().parents:
        return
    installed = Path(os.environ["INSTALLED"])
    for module in (folder / "src").iterdir():
        if module.is_dir() and not (installed / module.name).exists():
            (installed / module.name).symlink_to(module.resolve())
    information = installed / f"{project['name'].replace('-', '_')}-{project.get('version', '0')}.dist-info"
    information.mkdir(exist_ok=True)
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project.get('version', '0')}\n"
    )
    lines = [
        line
        for group, some in points.items()
        for line in (f"[{group}]", *(f"{k} = {v}" for k, v in some.items()))
    ]
    (information / "entry_points.txt").write_text("\n".join(lines) + "\n")


def make(words: list[str]) -> int:
    """Says what it would do, as `make --dry-run`; it must be tasks that the noxfile has."""
    said = subprocess.run(
        ["/usr/bin/env", "-u", "MAKEFLAGS", os.environ["REAL_MAKE"], "-n", *words], text=True, stdout=-1
    )
    tasks = re.findall(r"nox(?: --sessions? (\S+))?$", said.stdout, re.MULTILINE)
    if said.returncode or not tasks:
        wrong(f"{' '.join(words)} starts no task")
    return nox([word for task in tasks if task for word in ("-s", task)])


def nox(words: list[str]) -> int:
    """The sessions must be in the noxfile, with the parameters that it has; nothing is run."""
    tree = ast.parse(Path(os.environ["SANDBOX"], "noxfile.py").read_text())
    sessions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list}
    packages = {path.name for path in Path(os.environ["SANDBOX"], "packages").iterdir()}
    words = words[: words.index("--")] if "--" in words else words
    while words:
        word = words.pop(0)
        if word in ("-l", "--list"):
            continue
        if word not in ("-s", "--session", "--sessions"):
            wrong(f"option {word}?")
        name, _, parameter = words.pop(0).partition("(")
        if name not in sessions or (parameter and parameter.rstrip(")") not in packages):
            wrong(f"no session {name}({parameter}")
    return 0


def sbatch(words: list[str]) -> int:
    script = Path(words[-1])
    if not (script.is_file() and re.search(r"^#SBATCH --nodes", script.read_text(), re.MULTILINE)):
        wrong(f"{script} is no script for sbatch")
    return 0


def kubectl(words: list[str]) -> int:
    return described(words, ["apply", "-f"], "apiVersion")


def sky(words: list[str]) -> int:
    return described(words, ["jobs", "launch"], "resources")


def described(words: list[str], verbs: list[str], key: str) -> int:
    import yaml

    *given, file = words
    if given != verbs or key not in yaml.safe_load(Path(file).read_text()):
        wrong(f"{' '.join(words)}?")
    return 0


def main() -> NoReturn:
    """Stand in for the program under whose name this was started."""
    program = Path(sys.argv[0]).name.removesuffix("3")
    if program == "spectranet":
        sys.exit(ask(program, sys.argv[1:]))
    sys.exit(PROGRAMS[program](sys.argv[1:]))


PROGRAMS = {each.__name__: each for each in (kubectl, make, nox, pytest, python, sbatch, sky, torchrun)}
