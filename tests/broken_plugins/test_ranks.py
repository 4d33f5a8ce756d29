"""Plugins that are not the same everywhere: on two machines, and between a run and its resume."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crowd import ORDER
from installed import Environment, run_ranks

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "spectranet")


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Another machine, with another version of a plugin."""
    folder = tmp_path_factory.mktemp("newer")
    made = Environment(folder / "env")
    made.install(ORDER["0.8.0"].wheel(folder / "wheels"))
    return made


@pytest.fixture(scope="module")
def lacking(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Another machine, on which a plugin was forgotten."""
    return Environment(tmp_path_factory.mktemp("lacking") / "env")


def processes_with(variable: str) -> Iterator[int]:
    """Ids of the processes that have it in their environment (Linux)."""
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if variable.encode() in environment.read_bytes().split(b"\0"):
                yield int(environment.parent.name)
        except OSError:  # it has ended, or is not ours
            pass


@pytest.mark.slow
def test_torchrun_itself_ends_at_once_with_one_message_and_leaves_nothing(
    able: Environment, training: Callable[..., list[str]], tmp_path: Path
) -> None:
    mark = f"RUN_OF_A_TEST={tmp_path}"
    env = able.environment(RUN_OF_A_TEST=str(tmp_path))

    ended = subprocess.run(
        [str(able.python), *TORCHRUN, *training("crash,text")],
        capture_output=True,
        text=True,
        env=env,
        cwd=able.folder,
        timeout=120,
    )

    assert ended.returncode == 1, "torchrun's own, whatever its ranks say"
    assert ended.stderr.count("error: plugin 'crash' (spectranet-crash 0.2.0) failed to import:") == 1
    assert "exitcode  : 2 " in ended.stderr and "rank      : 0 " in ended.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.jsonl"]
    assert list(processes_with(mark)) == []


@pytest.mark.slow
def test_ranks_with_other_versions_refuse_before_anything_is_written(
    able: Environment, newer: Environment, training: Callable[..., list[str]], tmp_path: Path
) -> None:
    told = [
        "error: ranks have loaded different plugins:",
        "  order  spectranet-order 0.7.0  on rank 0",
        "  order  spectranet-order 0.8.0  on rank 1",
        "  install the same on every machine:  python -m pip install spectranet-order==0.7.0",
    ]

    ended = run_ranks([able, newer], *training("order,text"), nodes=2)

    assert [(each.returncode, each.stderr.splitlines()) for each in ended] == [(2, told), (2, told)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.jsonl"]


@pytest.mark.slow
def test_a_machine_that_lacks_a_plugin_tells_the_others_which_wait_for_it(
    able: Environment, lacking: Environment, training: Callable[..., list[str]], tmp_path: Path
) -> None:
    here, there = run_ranks([able, lacking], *training("order,text"), nodes=2)

    unknown = "unknown plugin 'order' (from --plugins)."
    assert (there.returncode, there.stderr.splitlines()[0]) == (2, f"error: {unknown}")
    assert (here.returncode, here.stderr.splitlines()[0]) == (2, f"error: rank 1 cannot start: {unknown}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.jsonl"]


@pytest.mark.slow
def test_a_plugin_that_is_gone_or_another_when_a_run_goes_on(
    training: Callable[..., list[str]], tmp_path: Path
) -> None:
    machine = Environment(tmp_path / "env")
    machine.install(ORDER["0.7.0"].wheel(tmp_path / "wheels"))
    command = training("order,text")
    trained = machine.run(*command)
    assert trained.returncode == 0, trained.stderr
    trained_with = f"{tmp_path / 'run' / 'checkpoints' / 'step-00000002'} was trained with it"

    machine.uninstall("spectranet-order")
    gone = [machine.run(*each) for each in (command, ["eval", str(tmp_path / "run")])]
    by_preset = machine.run(*command, "--config", "order-small")

    for ended in (*gone, by_preset):
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.splitlines() == [
            f"error: plugin 'order' is not installed; {trained_with} (spectranet-order 0.7.0).",
            "  install it:  python -m pip install spectranet-order==0.7.0",
        ]

    machine.install(ORDER["0.8.0"].wheel(tmp_path / "wheels"))
    resumed = machine.run(*command, "train.steps=3")

    assert resumed.returncode == 0, resumed.stderr
    assert (
        "changed since that checkpoint: plugin order: spectranet-order 0.7.0 -> spectranet-order 0.8.0"
        in " ".join(resumed.stderr.split())
    )
    told = json.loads((tmp_path / "run" / "run.json").read_text())["plugins"]
    assert [each["version"] for each in told if each["name"] == "order"] == ["0.8.0"]


@pytest.mark.slow
def test_a_run_beside_every_broken_plugin_that_nobody_named(
    able: Environment, training: Callable[..., list[str]], tmp_path: Path
) -> None:
    ended = able.run(*training("order,chatty,torchy,text"), IMPORTED=str(tmp_path / "imported"))

    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "run" / "checkpoints" / "step-00000002" / "manifest.json").is_file()
    imported = {line.split(".")[0] for line in (tmp_path / "imported").read_text().split()}
    assert imported == {"spectranet_order", "spectranet_chatty", "spectranet_torchy"}
