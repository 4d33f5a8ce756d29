"""What a run tells: figures, events, and neither is lost to a full disk or a kill."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from spectranet.train.distributed import start_world
from spectranet.train.journal import Journal
from spectranet.train.line_file import LineFile


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


def test_what_a_full_disk_refuses_is_written_once_there_is_room(tmp_path):
    """A file-size limit cuts a write in two and then refuses it, as a disk does when it fills up."""
    path = tmp_path / "lines.jsonl"
    script = f"""
import resource, signal
from pathlib import Path
from spectranet.train.line_file import LineFile
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


def test_a_line_is_with_the_system_before_write_returns(tmp_path):
    file = LineFile(tmp_path / "lines.jsonl")
    file.write({"step": 1})
    assert lines(tmp_path / "lines.jsonl") == [{"step": 1}]
