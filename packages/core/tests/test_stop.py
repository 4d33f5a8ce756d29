"""When does a process that trains end at once? And who may use its directory?"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from spectranet.errors import ConfigError
from spectranet.train.lock import lock_run

STUCK = """
import os, sys, time
from spectranet.train.stopping.stop import StopFlag
phase, orphan = sys.argv[1:]
flag = StopFlag(os.getppid() if orphan else None, grace_s=2.0)
if phase != "set-up":
    flag.begin(7)
if phase == "evaluation":
    flag.finish()
print(os.getpid(), flush=True)
time.sleep(60)
"""
"""The main thread never comes to the end of a step."""


def stuck(phase: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, phase, ""], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)]
)
@pytest.mark.parametrize("phase", ["set-up", "evaluation"])
def test_where_there_is_nothing_to_save_a_signal_ends_at_once(phase, number, code):
    process = stuck(phase)
    process.send_signal(number)
    _, told = process.communicate(timeout=20)
    where = {"set-up": "before the first step", "evaluation": "after the last step"}[phase]
    assert told == f"ended by {number.name} {where}; the same command goes on\n"
    assert process.returncode == code


def test_a_second_ctrl_c_ends_a_step_that_hangs_and_names_the_step_that_is_saved():
    process = stuck("steps")
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "stopping after this step; Ctrl-C again ends at once\n"
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert told == "ended at once; the same command goes on from step 7\n"
    assert process.returncode == 130


def test_a_rank_whose_launcher_is_gone_ends_though_its_step_does_not():
    launcher = (
        "import subprocess as s, sys\n"
        f"rank = s.Popen([sys.executable, '-c', {STUCK!r}, 'steps', 'yes'], stdout=s.PIPE)\n"
        "rank.stdout.readline()"
    )
    launched = subprocess.run(
        [sys.executable, "-c", launcher],
        text=True,
        capture_output=True,
        timeout=60,
    )
    # Its end of the pipe was open until the rank ended, so all that it said is here.
    assert launched.stderr.splitlines() == [
        "torchrun is gone: stopping after this step",
        "torchrun is gone, and this step has not ended in 2 s",
    ]


def test_a_directory_is_free_again_when_its_holder_was_killed(tmp_path):
    # A child that is forked meanwhile, as a data worker is, does not keep it.
    hold = """
import os, sys, time
from pathlib import Path
from spectranet.train.lock import lock_run
lock_run(Path(sys.argv[1]))
os.fork() or print("held", flush=True)
time.sleep(30)
"""
    command = [sys.executable, "-c", hold, str(tmp_path)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    holder.stdout.readline()
    with pytest.raises(ConfigError, match=f"is in use by another run: process {holder.pid} on "):
        lock_run(tmp_path)
    holder.kill()
    holder.wait()
    try:
        lock_run(tmp_path)
        lock_run(tmp_path)  # the same process may
    finally:
        os.killpg(holder.pid, signal.SIGKILL)


def test_a_file_system_without_locks_is_told_once(tmp_path, monkeypatch, caplog):
    def no_locks(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    lock_run(tmp_path)
    lock_run(tmp_path)
    (told,) = caplog.messages
    assert told == (
        f"run_dir '{tmp_path}' cannot be locked (No locks available): make sure that no other run uses it"
    )
