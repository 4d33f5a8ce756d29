"""Processes that index: those that start together share the work, and none outlives who started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_shards import write, write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "shards")


SCANS = """
import sys
from spectranet.data.index import build as index_build
from spectranet.data.options import OpenOptions
from spectranet.data.tar import TarSamples

scan = index_build.scan_shard
def noted(path, *args, **kwargs):
    with open(sys.argv[2], "a") as file:
        file.write(path + "\\n")
    return scan(path, *args, **kwargs)
index_build.scan_shard = noted
sys.stdin.readline()
samples = TarSamples(sys.argv[1], OpenOptions(cache_dir=sys.argv[3]))
print(len(samples), [samples.read(row, ["jpg"]).key for row in range(0, len(samples), 7)])
"""


def test_processes_that_start_together_share_the_scanning(tmp_path):
    folder, notes = tmp_path / "shards", tmp_path / "notes"
    folder.mkdir()
    for shard in range(30):
        write(folder / f"{shard:02d}.tar", shard, 200)
    command = [sys.executable, "-c", SCANS, str(folder), str(notes), str(tmp_path / "cache")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    ranks = [subprocess.Popen(command, **pipes) for _ in range(4)]
    done = [rank.communicate("go\n") for rank in ranks]

    assert {stdout for stdout, _ in done} == {done[0][0]}
    assert done[0][0].startswith("6000 ")
    assert [stderr for _, stderr in done] == [""] * 4
    assert sorted(notes.read_text().split()) == [f"{folder}/{shard:02d}.tar" for shard in range(30)]
    assert not list(folder.glob(".*"))


HANGING = """
import os, signal, sys
from spectranet.data.index import build as index_build
from spectranet.data.index.open import How, open_shards
from spectranet.data.shards import list_shards

def hang(path, *args, **kwargs):
    open(f"{sys.argv[2]}/{os.getpid()}", "x").close()
    while True:
        signal.pause()

index_build.scan_shard = hang
signal.signal(signal.SIGTERM, lambda *_: None)  # as a trainer's, which raises a flag
open_shards(list_shards(sys.argv[1]), sys.argv[2], How(workers=2))
"""


@pytest.mark.parametrize("killed", ["trainer", "workers"])
def test_processes_that_index_end_with_the_one_that_started_them_and_when_they_are_told(
    folder, tmp_path, killed
):
    pids = tmp_path / "pids"
    pids.mkdir()
    trainer = subprocess.Popen(
        [sys.executable, "-c", HANGING, str(folder), str(pids)], stderr=subprocess.DEVNULL
    )
    until(lambda: len([*pids.glob("[0-9]*")]) == 2)
    workers = [int(path.name) for path in pids.glob("[0-9]*")]
    if killed == "trainer":
        trainer.kill()
    else:
        os.kill(workers[0], signal.SIGTERM)

    try:
        until(lambda: not any(map(runs, workers)))
        assert trainer.wait(30) != 0
    finally:
        for pid in filter(runs, [trainer.pid, *workers]):
            os.kill(pid, signal.SIGKILL)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(condition) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
