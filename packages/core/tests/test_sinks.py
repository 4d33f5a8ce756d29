"""A tracker that is down: the run goes on, is told once, and the tracker gets what it can still get."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest
from throwaway import DECLARATIONS, shelf_in

from spectranet.plugins import PluginHost
from spectranet.train.distributed import start_world
from spectranet.train.journal.journal import Journal
from spectranet.train.journal.sinks import Sink, Sinks

SOON_S = 20.0


def wait_for(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


class Tracker:
    """Takes records while it is up."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.taken: list[int] = []
        self.attempts = 0

    def __call__(self, record) -> None:
        self.attempts += 1
        if self.error is not None:
            raise self.error
        self.taken.append(record["step"])


def records(*steps: int) -> list[dict]:
    return [{"step": step} for step in steps]


def quick(tracker, told, held=100, slow_s=30.0) -> Sink:
    return Sink("remote", tracker, told.append, held=held, retry_s=(0.01, 0.02), slow_s=slow_s)


@pytest.mark.parametrize("error", [ConnectionError("no route to host"), SystemExit(1)])
def test_a_sink_that_fails_is_tried_again_and_loses_no_record(error):
    told: list[str] = []
    tracker = Tracker(error)
    sink = quick(tracker, told)
    for record in records(1, 2, 3):
        sink.put(record)
    wait_for(lambda: tracker.attempts >= 3)
    assert told == [
        f"warning: metrics sink 'remote' failed and is tried again later: {type(error).__name__}: {error}"
    ]
    tracker.error = None
    wait_for(lambda: len(told) == 2)
    assert told[1] == "metrics sink 'remote' is back"
    sink.put({"step": 4})
    sink.close(time.monotonic() + SOON_S)
    assert tracker.taken == [1, 2, 3, 4]
    assert len(told) == 2


def test_a_sink_that_is_down_to_the_end_gets_a_last_attempt_and_its_loss_is_told():
    told: list[str] = []
    tracker = Tracker(ConnectionError("no route to host"))
    sink = Sink("remote", tracker, told.append, retry_s=(1e6, 1e6))
    for record in records(1, 2):
        sink.put(record)
    wait_for(lambda: len(told) == 1)
    sink.close(time.monotonic() + SOON_S)
    assert tracker.attempts == 2
    assert told[1:] == ["warning: metrics sink 'remote' missed 2 records; metrics.jsonl has all"]


def test_a_sink_that_hangs_delays_nobody_and_drops_its_oldest_records():
    told: list[str] = []
    release, entered = threading.Event(), threading.Event()
    taken: list[int] = []

    def hanging(record) -> None:
        entered.set()
        assert release.wait(SOON_S)
        taken.append(record["step"])

    sink = quick(hanging, told, held=3, slow_s=0.01)
    sink.put({"step": 0})
    assert entered.wait(SOON_S)
    time.sleep(0.02)
    for record in records(*range(1, 8)):
        sink.put(record)  # returns, or this test hangs
    assert told == [
        "warning: metrics sink 'remote' has not answered for 0.01 s; "
        "the run goes on, and metrics.jsonl has all"
    ]
    release.set()
    wait_for(lambda: len(taken) == 4)
    sink.close(time.monotonic() + SOON_S)
    assert taken == [0, 5, 6, 7]
    assert told[1:] == [
        "metrics sink 'remote' is back; it missed 4 records",
        "warning: metrics sink 'remote' missed 4 records; metrics.jsonl has all",
    ]


def test_the_end_of_a_run_waits_for_no_sink_that_hangs():
    told: list[str] = []
    release = threading.Event()
    taken: list[int] = []
    calls = {"dead": lambda record: release.wait(60), "live": lambda record: taken.append(record["step"])}
    sinks = Sinks(calls, told.append)
    for record in records(1, 2, 3):
        sinks.put(record)
    sinks.close(patience_s=0.2)
    release.set()
    assert taken == [1, 2, 3]
    assert told == ["warning: metrics sink 'dead' missed 3 records; metrics.jsonl has all"]


def test_one_plugin_that_fails_keeps_no_record_from_another(tmp_path, monkeypatch, capfd):
    world = start_world("cpu", 1)
    log = DECLARATIONS + "@hookimpl\ndef spectranet_log(record, run_dir):\n    "
    with shelf_in(tmp_path, monkeypatch) as shelf:
        shelf.put("down", log + "raise OSError('tracker.example cannot be reached')\n")
        shelf.put("up", log + "open(run_dir + '/up', 'a').write(str(record['step']) + ' ')\n")
        trackers = PluginHost.load(["down", "up"]).callers("spectranet_log")
    assert sorted(trackers) == ["core", "down", "up"]
    journal = Journal(tmp_path, 100, 0, world, trackers)
    for step in (1, 2, 3):
        journal.record(step, {"loss": 1.0})
    journal.close()
    assert (tmp_path / "up").read_text().split() == ["1", "2", "3"]
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]
    told = capfd.readouterr().err
    assert told.count("tracker.example cannot be reached") == 1
    assert "metrics sink 'down' missed 3 records" in told
