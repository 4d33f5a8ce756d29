"""What a run tells: figures, events, and neither is lost to a full disk or a kill."""

from __future__ import annotations

import fcntl
import json
import math
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest

from spectranet.train.distributed import start_world
from spectranet.train.journal.journal import Journal
from spectranet.train.journal.line_file import LineFile


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def journal(tmp_path):
    def opened(start: int = 0) -> Journal:
        return Journal(tmp_path, 100, start, start_world("cpu", 1))

    return opened


def test_a_resume_forgets_figures_of_steps_that_are_done_again_and_no_event(journal, tmp_path):
    first = journal()
    for step in (10, 20, 30):
        first.record(step, {"loss": 1.0 / step})
    first.event("skipped", 25, "step 25 is skipped")
    second = journal(start=20)
    second.event("resume", 20, "going on from step 20")
    second.record(30, {"loss": math.nan})
    assert [each["step"] for each in lines(tmp_path / "metrics.jsonl")] == [10, 20, 30]
    assert lines(tmp_path / "metrics.jsonl")[-1]["loss"] is None
    told = [(each["kind"], each["step"], each["text"]) for each in lines(tmp_path / "events.jsonl")]
    assert told == [("skipped", 25, "step 25 is skipped"), ("resume", 20, "going on from step 20")]


def test_an_event_is_told_in_the_terminal_unless_it_need_not_be(journal, capfd):
    opened = journal()
    opened.event("warning", 3, "embeddings of [audio] collapse")
    opened.event("checkpoint", 4, "step-4", tell=False)
    assert capfd.readouterr().err == "embeddings of [audio] collapse\n"


def test_a_run_keeps_where_it_began_and_what_it_was_warned_of(journal, tmp_path, capfd):
    journal().begin(1, [])
    told = ["going on from step-40", "warning: step-50 is damaged", "train.seed: 0 -> 1"]
    journal(start=40).begin(2, told)
    assert capfd.readouterr().err.splitlines() == told
    found = [(each["kind"], each["step"], each["text"]) for each in lines(tmp_path / "events.jsonl")]
    assert found == [
        ("start", 0, "starts on 1 rank"),
        ("warning", 40, "warning: step-50 is damaged"),
        ("resume", 40, "goes on after step 40 on 2 ranks\ntrain.seed: 0 -> 1"),
    ]


WORST = {"loss": 12.345, "samples_per_s": 123456.0, "seconds_per_step": 9.5, "mfu": 0.41}


def test_progress_fits_in_80_columns_with_all_that_matters(tmp_path):
    """In a real terminal: the line is not cut, and says where, how well, how fast and how long."""
    script = f"""
from pathlib import Path
from spectranet.train.distributed import start_world
from spectranet.train.journal.journal import Journal
journal = Journal(Path({str(tmp_path)!r}), 90000, 0, start_world("cpu", 1))
journal.advance(45000, 90000, {WORST!r})
journal.close()
"""
    shown = in_terminal([sys.executable, "-c", script], columns=80)
    (line,) = {each for each in shown if "45000/90000" in each}
    assert len(line) <= 80
    for part in ("train ", "45000/90000", "loss 12.345", "123,456 samples/s", "MFU 41 %", "118:45:00 left"):
        assert part in line, line


def in_terminal(command: list[str], columns: int) -> set[str]:
    """The lines that a command has shown on a terminal of this width, without escapes."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    child = subprocess.Popen(command, stderr=theirs, stdout=theirs, env=environment | {"TERM": "xterm"})
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # what a terminal without a writer gives on Linux
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    assert child.wait(60) == 0, shown.decode()
    return {
        line.strip() for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode()))
    }


def test_without_a_terminal_a_line_a_record_says_what_holds_a_run_up(journal, capfd):
    journal().advance(10, 20, WORST | {"samples_per_s": 0.52, "data_wait_share": 0.376})
    assert capfd.readouterr().err == (
        "step 10/20  loss 12.345  0.52 samples/s  MFU 41 %  38 % waits for data  1:35 left\n"
    )


def test_what_a_full_disk_refuses_is_written_once_there_is_room(tmp_path):
    """A file-size limit cuts a write in two and then refuses it, as a disk does when it fills up."""
    path = tmp_path / "lines.jsonl"
    script = f"""
import resource, signal
from pathlib import Path
from spectranet.train.journal.line_file import LineFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = LineFile(Path({str(path)!r}))
resource.setrlimit(resource.RLIMIT_FSIZE, (50, resource.RLIM_INFINITY))
refused = [file.write({{"step": step, "text": "x" * 20}}) is not None for step in range(4)]
assert refused == [False, True, True, True], refused
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert file.write({{"step": 4, "text": ""}}) is None
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [each["step"] for each in lines(path)] == [0, 1, 2, 3, 4]


def test_half_a_line_of_a_killed_run_spoils_no_other(journal, tmp_path):
    """Killed while the disk was full: a part of the last record and of the last event."""
    for name in ("metrics.jsonl", "events.jsonl"):
        (tmp_path / name).write_bytes(b'{"step": 1}\n{"step": 2, "ti\xc3')
    resumed = journal(start=1)
    resumed.record(2, {"loss": 1.0})
    resumed.event("resume", 1, "going on")
    assert [each["step"] for each in lines(tmp_path / "metrics.jsonl")] == [1, 2]
    first, _, last = (tmp_path / "events.jsonl").read_bytes().splitlines()
    assert (json.loads(first), json.loads(last)["text"]) == ({"step": 1}, "going on")


def test_a_full_disk_keeps_no_run_from_going_on(tmp_path):
    """The figures of steps that are done again are cut off where they begin: that needs no room."""
    script = f"""
import resource, signal
from pathlib import Path
from spectranet.train.distributed import start_world
from spectranet.train.journal.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path({str(tmp_path)!r}, "metrics.jsonl")
path.write_text("".join('{{"step": %d}}\\n' % step for step in range(1, 10)))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
Journal(path.parent, 20, 4, start_world("cpu", 1)).close()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [each["step"] for each in lines(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]


def test_a_line_is_with_the_system_before_write_returns(tmp_path):
    file = LineFile(tmp_path / "lines.jsonl")
    file.write({"step": 1})
    assert lines(tmp_path / "lines.jsonl") == [{"step": 1}]
