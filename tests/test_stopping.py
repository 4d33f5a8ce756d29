"""A run is stopped, by Ctrl-C or the death of its launcher: it saves. And it is alone in its directory."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

PATIENCE_S = 200
"""With a starved machine, on which two ranks import torch for a minute; what waits for ever waits longer."""

RUN = [sys.executable, "-m", "spectranet"]
TORCHRUN = [
    *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
    *("-m", "spectranet"),
]
WRAPPED = [sys.executable, str(Path(__file__).parents[1] / "examples" / "torchrun.py"), *TORCHRUN[3:]]
SMALL = [
    *("modalities.text.width=16", "modalities.text.layers=1", "modalities.text.heads=2"),
    *("modalities.text.mlp_hidden=16", "modalities.text.max_tokens=16", "model.decoder.width=16"),
    *("model.decoder.layers=1", "model.decoder.heads=2", "model.decoder.mlp_hidden=16"),
    *("objectives.contrastive=null", "tasks.retrieval=null", "train.steps=1000000", "train.threads=1"),
    *("train.global_batch=4", "train.slots=1", "train.log_every=1", "train.checkpoint.every=1000000"),
]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """What follows ``spectranet``: a run of text alone that would take days."""
    rows = [json.dumps({"key": str(i), "text": f"sentence number {i}"}) for i in range(16)]
    (tmp_path / "text.jsonl").write_text("\n".join(rows))
    source = [f"data.sources.t.path={tmp_path / 'text.jsonl'}", "data.sources.t.modalities=[text]"]
    return ["train", "--plugins", "text", "--config", "tiny", f"run_dir={tmp_path / 'run'}", *SMALL, *source]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes, each in a group of its own; what is left of them is killed."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def start(started: list[subprocess.Popen[str]], command: list[str], run: Path) -> subprocess.Popen[str]:
    """Returns when two steps are done. What it tells goes to a file, which outlives a launcher."""
    with (run.parent / "told").open("w") as told:
        process = subprocess.Popen(command, stderr=told, stdout=told, text=True, start_new_session=True)
    started.append(process)
    steps = run / "metrics.jsonl"
    while not steps.exists() or len(steps.read_text().splitlines()) < 2:
        assert process.poll() is None, (run.parent / "told").read_text()
        time.sleep(0.1)
    return process


def step_saved(run: Path) -> int:
    (checkpoint,) = (run / "checkpoints").glob("step-*[0-9]")
    return int(checkpoint.name.removeprefix("step-"))


def wait_until_alone(run: Path, limit_s: float = PATIENCE_S) -> None:
    """Until no process holds the run's directory."""
    probe = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    for _ in range(int(limit_s / 0.5)):
        if not subprocess.run(
            [sys.executable, "-c", probe, str(run / "run.lock")], stderr=subprocess.DEVNULL
        ).returncode:
            return
        time.sleep(0.5)
    raise AssertionError("the run's directory stays locked")


def test_the_first_ctrl_c_saves_and_says_where_the_run_goes_on(command, started, tmp_path):
    process = start(started, [*RUN, *command], tmp_path / "run")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130
    told = (tmp_path / "told").read_text()
    step = step_saved(tmp_path / "run")
    assert "stopping after this step; Ctrl-C again ends at once" in told
    assert f"stopped after step {step}, now saved; the same command goes on from there" in told
    assert "Traceback" not in told


def test_ctrl_c_under_torchrun_reaches_ranks_twice_and_counts_once(command, started, tmp_path):
    process = start(started, [*TORCHRUN, *command], tmp_path / "run")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does; torchrun sends it to its ranks once more
    process.wait(PATIENCE_S)
    told = (tmp_path / "told").read_text()
    assert f"stopped after step {step_saved(tmp_path / 'run')}, now saved" in told
    assert told.count("stopping after this step") == 1
    assert "ended at once" not in told


@pytest.mark.parametrize(
    ("launcher", "code"), [(TORCHRUN, 1), (WRAPPED, 75)], ids=["torchrun", "examples/torchrun.py"]
)
def test_sigterm_to_the_launcher_saves_and_only_ours_says_so(launcher, code, command, started, tmp_path):
    process = start(started, [*launcher, *command], tmp_path / "run")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == code
    told = (tmp_path / "told").read_text()
    assert f"stopped after step {step_saved(tmp_path / 'run')}, now saved" in told


def test_ranks_without_a_launcher_save_and_end_and_let_no_second_run_in_before(command, started, tmp_path):
    process = start(started, [*TORCHRUN, *command], tmp_path / "run")
    holder = json.loads((tmp_path / "run" / "run.lock").read_text())
    second = subprocess.run([*RUN, *command], capture_output=True, text=True, timeout=PATIENCE_S)
    assert second.returncode == 2
    assert (
        f"run_dir '{tmp_path / 'run'}' is in use by another run: process {holder['pid']} on "
        f"{socket.gethostname()}, since 20" in second.stderr
    )
    assert f"end it, which writes a checkpoint first:  kill {holder['pid']}\n" in second.stderr

    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until_alone(tmp_path / "run")
    step = step_saved(tmp_path / "run")
    told = (tmp_path / "told").read_text()
    assert "torchrun is gone: stopping after this step" in told
    assert f"stopped after step {step}, now saved" in told


def test_a_second_run_under_torchrun_is_refused_on_all_ranks_without_waiting(command, started, tmp_path):
    start(started, [*RUN, *command], tmp_path / "run")
    second = subprocess.run([*TORCHRUN, *command], capture_output=True, text=True, timeout=PATIENCE_S)
    assert second.stderr.count("is in use by another run") == 1
    assert "via Signals.SIGTERM, forcefully exiting" not in second.stderr


def test_a_killed_run_leaves_no_lock_behind_and_what_it_half_deleted_goes(command, started, tmp_path):
    checkpoints = tmp_path / "run" / "checkpoints"
    process = start(started, [*RUN, *command, "train.checkpoint.every=1"], tmp_path / "run")
    while not list(checkpoints.glob("step-*[0-9]")):
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (checkpoints / "step-00000001.old").mkdir(exist_ok=True)
    again = subprocess.run(
        [*RUN, *command, "train.steps=1"], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert again.returncode == 0, again.stderr
    assert "going on from" in again.stderr
    assert not list(checkpoints.glob("*.old"))  # although nothing was left to train, and so to save
