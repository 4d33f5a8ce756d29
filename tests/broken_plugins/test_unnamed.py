"""Plugins that are installed and that nobody named disturb nothing, however broken; they are not imported."""

from __future__ import annotations

import errno
import os
import pty
import subprocess
from pathlib import Path

import pytest
from crowd import CROWD, GOOD
from installed import Environment

OFFERS = sorted((name, api) for ware in (*CROWD, *GOOD) for api, name, _ in ware.offers)


def in_a_terminal(environment: Environment, *arguments: str, columns: int) -> tuple[int, str]:
    """Exit code and output of a command, as a terminal of that width shows it."""
    ours, its = pty.openpty()
    env = environment.environment(COLUMNS=str(columns))
    command = [str(environment.python), "-m", "spectranet", *arguments]
    with subprocess.Popen(command, stdout=its, stderr=its, env=env, cwd=environment.folder) as process:
        os.close(its)
        shown = b""
        while piece := read(ours):
            shown += piece
    os.close(ours)
    return process.returncode, shown.decode().replace("\r\n", "\n")


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError as error:  # Linux: whoever wrote to it has ended
        assert error.errno == errno.EIO
        return b""


@pytest.mark.parametrize("arguments", [("plugins",), ("--help",), ("train", "--help"), ("config", "presets")])
def test_nobody_named_is_imported(crowd: Environment, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ended = crowd.run(*arguments, IMPORTED=str(tmp_path / "imported"))

    assert (ended.returncode, ended.stderr) == (0, "")
    assert not (tmp_path / "imported").exists()


def test_of_two_api_majors_in_one_distribution_ours_is_imported(crowd: Environment, tmp_path: Path) -> None:
    ended = crowd.run("config", "show", "--plugins", "sonar", IMPORTED=str(tmp_path / "imported"))

    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "imported").read_text() == "spectranet_sonar.v1\n"


def test_what_a_plugin_prints_and_warns_does_not_mix_with_the_answer(crowd: Environment) -> None:
    quiet = crowd.run("config", "show", "--plain", "--plugins", "order")
    ended = crowd.run("config", "show", "--plain", "--plugins", "order,chatty")

    assert (quiet.returncode, ended.returncode) == (0, 0)
    assert ended.stdout == quiet.stdout.replace("plugins: [order]", "plugins: [chatty, order]")
    assert ended.stderr.startswith("hello\n") and "UserWarning: old thing" in ended.stderr


def test_an_objective_whose_plugin_is_not_loaded(crowd: Environment) -> None:
    ended = crowd.run("config", "show", "--plain", "--plugins", "text", "objectives.order={}")

    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-2:] == [
        "error: the configuration has a problem:",
        "  objectives.order: no loaded plugin brings objective 'order'. "
        "Plugin 'order' is installed and not loaded; add it to --plugins  (command line)",
    ]


def test_each_is_a_row_that_fits_a_terminal(crowd: Environment) -> None:
    code, shown = in_a_terminal(crowd, "plugins", columns=80)

    head, *lines = shown.splitlines()
    rows = [line.split() for line in lines[: lines.index("")] if not line.startswith(" ")]
    assert code == 0
    assert head.split()[:4] == ["name", "distribution", "version", "API"]
    assert max(map(len, shown.splitlines())) <= 80
    assert sorted((row[0], int(row[3].removeprefix("v"))) for row in rows) == sorted(
        [*OFFERS, ("objectives", 1), ("text", 1), ("vision", 1)]
    )
    assert "not installed: audio  (python -m pip install spectranet-audio)" in shown


@pytest.mark.slow
def test_a_check_tells_of_each_what_is_wrong_with_it(crowd: Environment) -> None:
    code, shown = in_a_terminal(crowd, "plugins", "--check", columns=80)

    table, *details = shown.strip().split("\n\n")
    rows = {line.split()[0]: line.split()[4:] for line in table.splitlines() if not line.startswith(" ")}
    fine = {name for name, row in rows.items() if row[2].startswith("ok")}
    # What a check of the configuration does is seen when there is one.
    works = {"chatty", "checker", "flir", "numbers", "order", "sonar", "thermal", "words"}
    skipped = {"lidar", "sonar"}
    assert code == 1
    assert max(map(len, table.splitlines())) <= 80
    assert fine == (works | {"objectives", "text", "vision"}) - {"sonar"}
    assert rows["sonar"] == ["?", "?", "skipped:"], "the second of its rows"
    told = {detail.split("'")[1]: detail for detail in details if detail.startswith("error: plugin '")}
    assert told.keys() == {name for name, _ in OFFERS} - works - skipped
    assert told["die"] == "error: plugin 'die' ended its process with code 0:\n  nothing on stderr"
    assert "Cancelled: by the plugin" in told["cancel"]
    assert "No module named 'torch'" in told["torchy"]
    assert "returned str 'scan' from spectranet_commands, which wants Command" in told["buttons"]
    assert "uninstall all but one of them" in told["radar"]
    assert details[-2:] == [
        "modality 'thermal' is claimed by flir and thermal: name one of them in --plugins.",
        "not installed: audio  (python -m pip install spectranet-audio)",
    ]


def test_a_command_that_nobody_has_costs_each_broken_plugin_a_line(crowd: Environment) -> None:
    """All have to be asked, since only a plugin knows its commands. One of them leaves by os._exit(0)."""
    ended = crowd.run("trian")

    *warnings, mistake, helped = ended.stderr.splitlines()
    assert ended.returncode == 2
    assert (mistake, helped) == (
        "error: no command 'trian'. Did you mean 'train'?",
        "  help:  spectranet --help",
    )
    told = [line for line in warnings if line.startswith("warning: plugin ")]
    assert "warning: plugin 'die' ended its process with code 0" in told
    assert any(line.startswith("warning: plugin 'words'") for line in told) is False
    assert {line.split("'")[1] for line in told} >= {"cancel", "crash", "exit0", "radar", "syntax", "torchy"}
