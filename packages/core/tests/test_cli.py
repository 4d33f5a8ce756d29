"""The command line answers at once, imports little, and ends mistakes without a traceback."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from throwaway import DECLARATIONS, Shelf, shelf_in

import spectranet
from spectranet.cli import main
from spectranet.cli.plugins import probe
from spectranet.cli.root import CORE_COMMANDS
from spectranet.config import load_config

COMMANDS = """
@hookimpl
def spectranet_commands():
    import click

    @click.command("scan-room")
    def scan_room():
        click.echo("scanned")

    return [scan_room]
"""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    folder = tmp_path / "installed"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.delenv("SPECTRANET_DEBUG", raising=False)
    with shelf_in(folder, monkeypatch) as made:
        yield made


class Ended:
    """How a command ended, run in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        self.code = caught.value.code
        self.out, self.err = capsys.readouterr()


def in_a_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spectranet", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=120)


# -------------------------------------------------------------------------------------------- quick


@pytest.mark.parametrize("arguments", [["--help"], ["plugins"], ["plugins", "--help"], ["train", "--help"]])
def test_light_commands_import_nothing_heavy_and_answer_at_once(arguments: list[str]) -> None:
    script = (
        "import sys, spectranet.cli\n"
        "try:\n"
        f"    spectranet.cli.main({arguments})\n"
        "finally:\n"
        "    print('imported:', *{name.partition('.')[0] for name in sys.modules})\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)

    *_, last = done.stdout.splitlines()
    heavy = {"torch", "numpy", "omegaconf", "transformers", "spectranet_text", "spectranet_vision"}
    assert done.returncode == 0, done.stderr
    assert last.startswith("imported: ") and not heavy.intersection(last.split())
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert cpu_s < 1.5, "0.3 s on a quiet machine; the margin is for busy ones"


def test_help_lists_commands_without_importing_plugins(
    shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf.put("text", "raise AssertionError('imported')")
    shelf.put("lidar", "raise AssertionError('imported')")

    ended = Ended(capsys, "--help")

    assert ended.code == 0
    for name in ("config", "eval", "plugins", "report", "train", "tokenizer"):
        assert f"\n  {name} " in ended.out
    assert "More may come from lidar" in ended.out


@pytest.mark.parametrize("command", sorted(CORE_COMMANDS))
def test_every_listed_command_is_there(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert Ended(capsys, command, "--help").code == 0


# ------------------------------------------------------------------------------------------ plugins


def test_plugins_are_listed_from_metadata(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    shelf.put("vision", "raise AssertionError('imported')", version="0.2.0")
    shelf.put("lidar", "raise AssertionError('imported')", version="0.4.1")
    shelf.put("old", "raise AssertionError('imported')", api=0)

    ended = Ended(capsys, "plugins")

    assert ended.code == 0
    assert [line.split() for line in ended.out.splitlines()[:4]] == [
        ["name", "distribution", "version", "API", "modalities", "objectives", "status"],
        ["lidar", "spectranet-lidar", "0.4.1", "v1", "?", "?", "installed"],
        ["old", "spectranet-old", "0.1.0", "v0", "?", "?", "skipped:", "core", "has", "API", "v1"],
        ["vision", "spectranet-vision", "0.2.0", "v1", "image,", "video", "-", "installed"],
    ]
    assert "not installed: audio  (python -m pip install spectranet-audio)" in ended.out
    assert "spectranet plugins --check" in ended.out


def test_a_broken_plugin_is_a_row_and_check_ends_with_1(
    shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf.put(
        "lidar",
        DECLARATIONS + COMMANDS + "@hookimpl\ndef spectranet_objectives():\n    return [objective('o')]\n",
    )
    shelf.put("broken", "import no_such_module")
    shelf.put("crash", "import os\nos._exit(9)")

    ended = Ended(capsys, "plugins", "--check")

    assert ended.code == 1
    rows = {line.split()[0]: line.split()[4:] for line in ended.out.splitlines()[1:4]}
    assert rows["broken"] == ["?", "?", "broken"]
    assert rows["crash"] == ["?", "?", "broken"]
    assert rows["lidar"] == ["-", "o", "ok;", "commands", "scan-room"]
    assert "error: plugin 'broken' (spectranet-broken 0.1.0) failed to import:\n" in ended.out
    assert (
        "  ModuleNotFoundError: No module named 'no_such_module'\n  at spectranet_broken/plugin.py:1\n"
        in ended.out
    )
    assert "error: plugin 'crash' ended its process with code 9:" in ended.out


def test_check_of_good_plugins_ends_with_0(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    shelf.modality("lidar", "points")

    ended = Ended(capsys, "plugins", "--check", "--json")

    assert ended.code == 0
    (row,) = json.loads(ended.out)
    assert (row["name"], row["modalities"], row["status"]) == ("lidar", "points", "ok")


def test_a_plugin_that_never_comes_back_is_given_up(shelf: Shelf) -> None:
    shelf.put("slow", "import time\ntime.sleep(60)")

    assert probe("slow", timeout_s=3) == {"error": "plugin 'slow' did not load within 3 s."}


def test_what_a_plugin_writes_before_it_ends_its_process_may_be_anything(shelf: Shelf) -> None:
    shelf.put("binary", "import os\nos.write(2, b'\\xff\\xfe lost')\nos._exit(3)")

    assert probe("binary")["error"].startswith("plugin 'binary' ended its process with code 3:")


def test_a_plugin_that_never_comes_back_does_not_keep_an_unknown_command_waiting(
    shelf: Shelf, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectranet.cli.plugin_commands._TIMEOUT_S", 2.0)
    shelf.put("hangs", "import time\ntime.sleep(60)")

    ended = Ended(capsys, "trian")

    assert ended.code == 2
    assert ended.err.splitlines()[:2] == [
        "warning: plugin 'hangs' did not load within 2 s",
        "error: no command 'trian'. Did you mean 'train'?",
    ]


def test_commands_of_plugins_are_found_when_they_are_called(
    shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf.put("broken", "import no_such_module")
    shelf.put("lidar", DECLARATIONS + COMMANDS)

    ended = Ended(capsys, "scan-room")

    assert (ended.code, ended.out) == (0, "scanned\n")
    assert ended.err == (
        "warning: plugin 'broken' (spectranet-broken 0.1.0) failed to import: "
        "ModuleNotFoundError: No module named 'no_such_module'\n"
    )


# ------------------------------------------------------------------------------------------- errors


def test_an_unknown_command_has_a_hint(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    ended = Ended(capsys, "trian")

    assert ended.code == 2
    assert ended.err == "error: no command 'trian'. Did you mean 'train'?\n  help:  spectranet --help\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("train", "--steps", "3"), "no option '--steps'; options are written KEY=VALUE: train.steps=3"),
        (("train", "--steps=3"), "no option '--steps'; options are written KEY=VALUE: train.steps=3"),
        (
            ("train", "--train.steps", "3"),
            "no option '--train.steps'; options are written KEY=VALUE: train.steps=3",
        ),
        (
            ("config", "show", "--global-batch", "--plugins", "x"),
            "no option '--global-batch'; options are written KEY=VALUE: train.global_batch=…",
        ),
        (
            ("train", "--every", "5"),
            "no option '--every'; options are written KEY=VALUE: train.checkpoint.every=5 or eval.every=5",
        ),
        (("train", "--warmup_stps", "5"), "KEY=VALUE: train.optimizer.warmup_steps=5"),
        (("train", "--confg", "tiny"), "--confg"),
        (("plugins", "--steps", "3"), "No such option"),
    ],
)
def test_a_key_written_as_an_option_is_shown_as_it_is_written(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    ended = Ended(capsys, *arguments)

    assert ended.code == 2
    assert sentence in ended.err


def test_a_run_without_held_out_sources_or_tasks_is_told_the_command(
    shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = "@hookimpl\ndef spectranet_tasks():\n    return [task('count')]\n"
    points = "@hookimpl\ndef spectranet_modalities():\n    return [modality('points')]\n"
    shelf.put("lidar", DECLARATIONS + tasks + points)
    Path("run").mkdir()
    Path("run/config.yaml").write_text(
        "{plugins: [lidar], data: {sources: {a: {path: p, modalities: [points]}}}}"
    )

    ended = Ended(capsys, "eval", "run")

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.splitlines() == [
        "error: 'run' has no held-out source to measure on; name one:",
        "  spectranet eval run eval.sources.mine.path=… 'eval.sources.mine.modalities=[points]'",
        "'run' has no task to measure with; enable one of count:",
        "  spectranet eval run 'tasks.count={}'",
    ]


@pytest.mark.parametrize("command", [("train",), ("config", "show")])
def test_mistakes_end_with_2_and_no_traceback(
    shelf: Shelf, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    for name in ("audio", "objectives", "text", "vision"):
        shelf.modality(name)

    ended = Ended(capsys, *command, "--plugins", "visoin")

    assert ended.code == 2
    assert ended.err == (
        "error: unknown plugin 'visoin' (from --plugins). Did you mean 'vision'?\n"
        "  installed: audio, objectives, text, vision\n"
    )


def test_debug_shows_the_traceback_with_the_plugins_own_lines(
    shelf: Shelf, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.put("audio", "import no_such_module")
    plain = Ended(capsys, "config", "show", "--plugins", "audio")
    monkeypatch.setenv("SPECTRANET_DEBUG", "1")
    debug = Ended(capsys, "config", "show", "--plugins", "audio")

    assert plain.code == debug.code == 2
    assert "Traceback" not in plain.err
    assert 'spectranet_audio/plugin.py", line 1' in debug.err
    assert debug.err.endswith(plain.err)


def test_long_lines_of_errors_are_not_wrapped(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    path = "runs/" + "long-" * 60
    ended = Ended(capsys, "config", "show", f"{path}=1")

    assert f"  {path}: unknown option." in ended.err


def test_a_reader_that_leaves_early_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "spectranet", "plugins"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(writer)

    assert (done.returncode, done.stderr) == (1, "")


# ------------------------------------------------------------------------------------------- config


def test_config_show_prints_what_loads_to_the_same(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    shelf.modality("lidar")
    options = ("--plugins", "lidar", "train.steps=7", "modalities.lidar.size=3")

    shown, plain = (
        Ended(capsys, "config", "show", *options),
        Ended(capsys, "config", "show", "--plain", *options),
    )

    assert shown.code == plain.code == 0
    assert [line.split("#")[-1].strip() for line in shown.out.splitlines() if " steps: 7" in line] == [
        "command line"
    ]
    Path("mine.yaml").write_text(plain.out)
    assert load_config(["mine.yaml"]).config == load_config([], options[2:], ["lidar"]).config


def test_config_show_prints_a_configuration_with_problems_too(
    shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = Ended(capsys, "config", "show", "train.steps=x", "train.seed=5")

    assert ended.code == 2
    assert "\n  seed: 5 " in ended.out
    assert ended.err == (
        "error: the configuration has a problem:\n  train.steps: 'x' is not a whole number  (command line)\n"
    )


def test_config_presets_lists_names_and_summaries(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    source = "@hookimpl\ndef spectranet_presets():\n    return [Preset('attic', 'one lidar', '')]\n"
    shelf.put("lidar", DECLARATIONS + source)

    ended = Ended(capsys, "config", "presets", "--plugins", "lidar")

    assert ended.code == 0
    assert ["attic", "one", "lidar"] in [line.split() for line in ended.out.splitlines()]
    assert any(line.startswith("tiny ") for line in ended.out.splitlines())


@pytest.mark.parametrize(
    ("given", "names"), [(["a,b"], ["a", "b"]), (["a", "b, c"], ["a", "b", "c"]), ([""], []), ([], None)]
)
def test_names_of_plugins_may_be_joined_or_repeated(given: list[str], names: list[str] | None) -> None:
    import click
    from click.testing import CliRunner

    from spectranet.cli.options import config_options

    @click.command()
    @config_options
    def command(plugins: list[str] | None, configs: tuple[str, ...], overrides: tuple[str, ...]) -> None:
        print(json.dumps([plugins, configs, overrides]))

    options = [word for value in given for word in ("--plugins", value)]
    done = CliRunner().invoke(command, [*options, "--config", "x", "a.b=-1", "--config", "y", "c=[d]"])
    assert json.loads(done.output) == [names, ["x", "y"], ["a.b=-1", "c=[d]"]]


def test_version() -> None:
    done = in_a_process("--version")
    assert (done.returncode, done.stdout) == (0, f"spectranet-core, version {spectranet.__version__}\n")
