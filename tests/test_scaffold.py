"""``spectranet new`` makes packages that are whole, clean and called by their name, or says why not."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

import spectranet
from spectranet.cli.new import new
from spectranet.errors import SpectraNetError
from spectranet.scaffold.names import LONGEST, RESERVED, Names, names_of
from spectranet.scaffold.render import KINDS, render, requirement
from spectranet.scaffold.write import write_package

ROOT = Path(__file__).parents[1]
LONG = "x" * LONGEST

every_kind = pytest.mark.parametrize("kind", KINDS)


def made(folder: Path, kind: str, name: str, *options: str) -> Result:
    """The command's result, and its package in ``folder``."""
    return CliRunner().invoke(new, [kind, name, "--into", str(folder), *options])


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both kinds under short, usual and longest names, and under words that their own code is made of."""
    folder = tmp_path_factory.mktemp("made")
    for kind in KINDS:
        for name in ("ir", "thermal", LONG, "problems", "options", "loss", "queries", "build"):
            write_package(folder / f"{kind}-{name}", render(kind, names_of(name, kind)))
    return folder


def test_what_is_made_has_our_style(packages: Path) -> None:
    """With its own settings, which are ours."""
    ruff = shutil.which("ruff") or pytest.skip("ruff is not installed")
    check = subprocess.run([ruff, "check", "--no-cache", str(packages)], capture_output=True, text=True)
    format_ = subprocess.run([ruff, "format", "--no-cache", "--diff", str(packages)], capture_output=True)

    assert check.returncode == 0, check.stdout
    assert format_.returncode == 0, format_.stdout.decode()


def test_the_style_of_what_is_made_is_that_of_this_repository() -> None:
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]
    for kind in KINDS:
        made = tomllib.loads(render(kind, Names("thermal"))["pyproject.toml"])["tool"]["ruff"]

        assert made["line-length"] == ours["line-length"]
        assert made["lint"]["select"] == ours["lint"]["select"]
        assert set(made["lint"]["ignore"]) <= set(ours["lint"]["ignore"])


@every_kind
def test_every_file_can_be_read_and_is_called_by_the_name(kind: str) -> None:
    files = render(kind, names_of("heat-map", kind))

    for path, text in files.items():
        assert "NAME" not in path and "$" not in text.replace("${{", ""), path
        assert not path.endswith(".template") and "thermal" not in text and "recall" not in text, path
        if path.endswith(".py"):
            compile(text, path, "exec")
        elif path.endswith((".yaml", ".yml")):
            assert yaml.safe_load(text)
    assert {"pyproject.toml", ".gitignore", ".github/workflows/test.yml", "train.yaml"} <= files.keys()
    assert {"src/spectranet_heat_map/py.typed", "tests/test_heat_map.py"} <= files.keys()
    assert "class TestHeatMap(" in files["tests/test_conformance.py"]
    assert files["LICENSE"] == (ROOT / "LICENSE").read_text()


@every_kind
def test_metadata_names_the_plugin_and_caps_the_core(kind: str) -> None:
    project = tomllib.loads(render(kind, Names("heat_map"), 'Ada "A." Ünal 🛰')["pyproject.toml"])["project"]

    assert project["name"] == "spectranet-heat-map"
    assert project["entry-points"]["spectranet.plugins.v1"] == {"heat_map": "spectranet_heat_map.plugin"}
    assert project["dependencies"] == [f"spectranet-core{requirement(spectranet.__version__)}"]
    assert project["authors"] == [{"name": 'Ada "A." Ünal 🛰'}]
    assert "authors" not in tomllib.loads(render(kind, Names("heat_map"))["pyproject.toml"])["project"]


@pytest.mark.parametrize(
    ("version", "asks"), [("0.2.0", ">=0.2,<1"), ("0.12.3rc1", ">=0.12,<1"), ("1.4.0", ">=1.4,<2")]
)
def test_the_core_is_required_up_to_its_next_major(version: str, asks: str) -> None:
    assert requirement(version) == asks


@every_kind
def test_what_was_made_and_what_comes_next_fits_a_terminal(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    said = CliRunner().invoke(new, [kind, LONG])

    assert said.exit_code == 0, said.output
    assert max(map(len, said.output.splitlines())) <= 80
    commands = said.output.partition("next:\n")[2].replace("\\\n", "")
    assert [line.split()[0] for line in commands.splitlines()[:4]] == [
        "python",
        "pytest",
        "python",
        "spectranet",
    ]
    assert (tmp_path / f"spectranet-{LONG}" / "train.yaml").is_file()


def test_a_folder_of_any_name_stands_in_the_commands_as_a_shell_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = "Ada's own $x"

    said = CliRunner().invoke(new, ["modality", "lidar", "--into", folder])
    install, test, _, train = said.output.partition("next:\n")[2].splitlines()[:4]

    assert shlex.split(install)[-1] == f"./{folder}[test]"
    assert shlex.split(test)[-1] == folder
    assert shlex.split(train)[-1] == f"{folder}/train.yaml"


def test_the_readme_and_the_command_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in KINDS:
        said = CliRunner().invoke(new, [kind, f"my_{kind}"]).output
        readme = (tmp_path / f"spectranet-my-{kind}" / "README.md").read_text()
        commands = said.partition("next:\n")[2].partition("\n\n")[0].replace("\\\n      ", "")

        assert [line for line in commands.splitlines() if line.strip() not in readme] == []


@pytest.mark.parametrize(
    ("word", "reason", "instead"),
    [
        ("Thermal", "lower-case", "thermal"),
        ("HeatMap", "lower-case", "heat_map"),
        ("heat map", "lower-case", "heat_map"),
        ("3d", "lower-case", "d"),
        ("_x_", "lower-case", "x"),
        ("ü", "lower-case", "thermal"),
        ("../x", "lower-case", "x"),
        ("x" * 25, "24 characters", "x" * 24),
        ("spectranet-lidar", "by itself", "lidar"),
        ("text", "spectranet-text", "my_text"),
        ("mmm", "spectranet-objectives", "my_mmm"),
        ("core", "the core", "my_core"),
        ("conformance", "a file of tests", "my_conformance"),
        ("key", "a column", "my_key"),
        ("class", "Python", "class_modality"),
        ("null", "YAML", "null_modality"),
        ("values", "torch", "values_modality"),
    ],
)
def test_a_name_that_cannot_be_is_answered_with_one_that_can(word: str, reason: str, instead: str) -> None:
    with pytest.raises(SpectraNetError) as caught:
        names_of(word, "modality")

    first, last = str(caught.value).splitlines()
    assert f"'{word}'" in first and reason in first
    assert last == f"  try:  spectranet new modality {instead}"
    assert names_of(instead, "modality").plugin == instead


def test_names_that_torch_cannot_take_are_refused() -> None:
    """Encoders and objectives are submodules by name. What torch's classes have is asked in a process of its
    own: libraries that other tests import add to them."""
    asks = "from torch import nn; print(*dir(nn.ModuleDict), *dir(nn.ParameterDict))"
    has = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True).stdout

    taken = {name for name in has.split() if not name.startswith("_")}

    assert "keys" in taken
    assert {name for name in taken if name.islower()} - RESERVED == set()


def test_dashes_become_underscores() -> None:
    names = names_of("heat-map", "modality")

    assert (names.plugin, names.distribution) == ("heat_map", "spectranet-heat-map")
    assert (names.module, names.class_name, names.constant) == ("spectranet_heat_map", "HeatMap", "HEAT_MAP")


@pytest.mark.parametrize("there", ["a file", "an empty folder", "a link to nowhere"])
def test_nothing_is_overwritten(there: str, tmp_path: Path) -> None:
    folder = tmp_path / "there"
    if there == "a file":
        folder.write_text("mine")
    elif there == "an empty folder":
        folder.mkdir()
    else:
        folder.symlink_to("nowhere")

    said = made(folder, "modality", "thermal")

    assert isinstance(said.exception, SpectraNetError) and "there already" in str(said.exception)
    assert list(tmp_path.iterdir()) == [folder]
    assert folder.is_symlink() or folder.is_file() or not list(folder.iterdir())


def test_a_package_that_cannot_be_finished_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(SpectraNetError, match="cannot be written"):
        write_package(tmp_path / "half", {"a": "a file", "a/b": "a file in a file"})
    with pytest.raises(SpectraNetError, match="mkdir -p"):
        write_package(tmp_path / "nowhere" / "x", {"a": "a file"})

    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_as_open_as_any_other(tmp_path: Path) -> None:
    write_package(tmp_path / "made", {"a": ""})
    (tmp_path / "usual").mkdir()

    assert (tmp_path / "made").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_making_a_package_imports_no_deep_learning(tmp_path: Path) -> None:
    program = (
        "import sys; from spectranet.cli.new import new; new(['modality', 'x'], standalone_mode=False);"
        "print('torch' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)

    assert done.stdout.splitlines()[-1:] == ["False"], done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)  # a minute on a quiet machine; ranks and training feel others
@pytest.mark.parametrize(
    ("kind", "plugins"), [("modality", "sonar,text"), ("objective", "vision,text,sonar")]
)
def test_what_is_made_keeps_its_promises_and_trains(kind: str, plugins: str, tmp_path: Path) -> None:
    """Installed as metadata and sources on a path. From wheels: ``tests/wheels/first_plugin.py``."""
    assert made(tmp_path / "package", kind, "sonar").exit_code == 0
    install(tmp_path / "package", tmp_path / "site")
    data = KINDS[kind]

    assert "passed" in run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "package")
    run(tmp_path, "-m", "spectranet_sonar.samples", data, "--count", "80")
    run(
        tmp_path, "-m", "spectranet", "train", "--plugins", plugins, "--config", "package/train.yaml",
        "train.steps=10", "eval.limit=16",
    )  # fmt: skip

    assert list((tmp_path / "runs" / "sonar" / "checkpoints").glob("step-*"))


def install(package: Path, site: Path) -> None:
    """What an installer does with a package of pure Python."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    shutil.copytree(package / "src", site)
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    requires = "".join(f"Requires-Dist: {each}\n" for each in project["dependencies"])
    head = f"Metadata-Version: 2.4\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head + requires)
    ((group, points),) = project["entry-points"].items()
    lines = [f"{name} = {target}\n" for name, target in points.items()]
    (info / "entry_points.txt").write_text(f"[{group}]\n{''.join(lines)}")
    packed = [path.relative_to(site).as_posix() for path in sorted(site.rglob("*")) if path.is_file()]
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in packed))


def run(folder: Path, *words: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(folder / "site")}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
