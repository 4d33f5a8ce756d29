"""When samples are bad or storage hangs: given up, replaced, counted, written down, and limited."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import pytest
from numbers_modality import decode, numbers
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from spectranet import ConfigError, DataError
from spectranet.config import Config, DataConfig, EvalConfig, SourceConfig, TrainConfig
from spectranet.contracts import RawSample, Reader
from spectranet.data.crew import Crew, Stalled
from spectranet.data.loader import EvalData, TrainStream
from spectranet.data.readers import readers
from spectranet.data.stores.patience import using

LEFT = numbers("left", "left", "l")
STALL_S = 0.3


def files(folder: Path, count: int = 16) -> SourceConfig:
    """A source whose rows are files ``0`` … with the number that they are called."""
    folder.mkdir(exist_ok=True)
    for i in range(count):
        (folder / f"{i}").write_text(f"{i},0")
    rows = [json.dumps({"left": f"{i}", "key": f"key{i}"}) for i in range(count)]
    (folder / "m.jsonl").write_text("\n".join(rows))
    return SourceConfig(path=str(folder / "m.jsonl"), modalities=["left"])


def stream(source: SourceConfig, *, modality=LEFT, loaded=None, steps: int = 2, **data) -> TrainStream:
    standard = {"sources": {"s": source}, "workers": 0, "threads": 1, "stall_s": STALL_S}
    config = Config(
        data=DataConfig(**standard | data),
        train=TrainConfig(steps=steps, global_batch=8, slots=2),
    )
    return TrainStream(config, {"left": modality}, loaded or readers(), {})


def skipped(steps: list) -> dict[str, str]:
    """key -> reason of everything that was replaced."""
    return {each.key: each.reason for step in steps for batch in step for each in batch.skipped}


def keys(steps: list) -> list[list[str]]:
    return [[key for batch in step for key in batch.keys] for step in steps]


# ------------------------------------------------------------------------------------------- deaths


@pytest.fixture
def soon_noticed(monkeypatch):
    """A DataLoader looks at its workers every five seconds, which is long for a test."""
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.2,))


def dies_of(number: int):
    def decode_or_die(content: bytes):
        if content.startswith(b"11,"):
            os.kill(os.getpid(), number)
        return decode(content)

    return decode_or_die


@pytest.mark.parametrize(
    ("number", "likely"),
    [(signal.SIGKILL, "out of memory"), (signal.SIGSEGV, "a decoder crashed"), (signal.SIGBUS, "/dev/shm")],
)
def test_a_worker_that_dies_is_an_error_that_names_its_samples(tmp_path, soon_noticed, number, likely):
    deadly = replace(LEFT, decode=dies_of(number))
    begun = stream(files(tmp_path), modality=deadly, workers=1, prefetch=1)
    with pytest.raises(DataError) as caught:
        list(begun)
    begun.close()
    told = str(caught.value).splitlines()
    assert re.match(rf"source 's': worker process \d+ was ended by {number.name}, .* of step [01] ", told[0])
    named = told[1].rpartition(": ")[2].split(", ")
    assert "m.jsonl:12" in named and len(named) in (4, 8)  # the row of file 11
    assert likely in told[2] and "data.workers=0" in told[3]


def test_a_worker_that_dies_disturbs_no_step_but_the_one_that_lacks_its_batch(tmp_path, soon_noticed):
    others = active_children()
    begun = stream(files(tmp_path), workers=1, prefetch=1, steps=20)
    steps = iter(begun)
    next(steps)
    (worker,) = [each for each in active_children() if each not in others]
    worker.kill()
    time.sleep(0.3)  # a trainer's step: a handler of SIGCHLD would raise here
    with pytest.raises(DataError, match=f"worker process {worker.pid} was ended by SIGKILL"):
        list(steps)
    begun.close()


# ------------------------------------------------------------------------------------------- stalls


@pytest.mark.parametrize(("workers", "threads"), [(0, 1), (0, 3), (1, 1), (1, 3)])
def test_files_that_never_open_are_given_up_replaced_and_named(tmp_path, workers, threads):
    source = files(tmp_path)
    for i in (3, 7):
        (tmp_path / f"{i}").unlink()
        os.mkfifo(tmp_path / f"{i}")  # open() waits for a writer, who never comes

    steps = list(stream(source, workers=workers, threads=threads))

    found = skipped(steps)
    assert sorted(found) == ["m.jsonl:4", "m.jsonl:8"]
    for number, reason in ((3, found["m.jsonl:4"]), (7, found["m.jsonl:8"])):
        assert reason == f"given up after 0.3 s: '{tmp_path}/{number}' does not answer (data.stall_s)"
    assert [len(of_step) for of_step in keys(steps)] == [8, 8]
    assert not {"key3", "key7"} & {key for of_step in keys(steps) for key in of_step}


def test_replacements_of_stalled_samples_are_those_of_any_bad_sample(tmp_path):
    hanging, missing = files(tmp_path / "hanging"), files(tmp_path / "missing")
    (tmp_path / "hanging" / "5").unlink()
    os.mkfifo(tmp_path / "hanging" / "5")
    (tmp_path / "missing" / "5").unlink()

    assert keys(list(stream(hanging))) == keys(list(stream(missing)))


def decode_or_hang(content: bytes):
    if content.startswith(b"4,"):
        threading.Event().wait()
    return decode(content)


def test_a_decoder_that_hangs_is_given_up(tmp_path):
    hanging = replace(LEFT, decode=decode_or_hang)
    found = skipped(list(stream(files(tmp_path), modality=hanging, workers=1)))
    assert found == {"m.jsonl:5": "given up after 0.3 s: its decoding does not end (data.stall_s)"}


class HangingShard:
    """Rows 0 to 7 are in a shard that does not answer, 8 to 63 in seven that do."""

    parts = (8,) * 8

    def __len__(self) -> int:
        return 64

    def key(self, row: int) -> str:
        return f"shard{row // 8}/{row % 8}"

    def read(self, row, wanted) -> RawSample:
        from spectranet.data.stores.patience import persist

        def attempt() -> bytes:
            if row < 8:
                threading.Event().wait()
            return b"1"

        return RawSample(self.key(row), {"left": persist(f"/mnt/shard{row // 8}.tar", attempt)})


def test_one_hanging_shard_costs_one_wait_and_not_one_for_each_of_its_samples(tmp_path):
    reader = Reader("hanging", lambda path: True, lambda path, options: HangingShard())
    source = SourceConfig(path="it", modalities=["left"])
    before = time.monotonic()
    steps = list(stream(source, loaded=[reader], steps=8, threads=1, stall_s=2.0))
    waited_s = time.monotonic() - before

    assert {key.split("/")[0] for key in skipped(steps)} == {"shard0"} and len(skipped(steps)) == 8
    assert all("'/mnt/shard0.tar' does not answer" in reason for reason in skipped(steps).values())
    assert waited_s < 8  # eight samples at 2 s each would be 16
    assert [len(of_step) for of_step in keys(steps)] == [8] * 8


def test_storage_that_is_gone_altogether_ends_the_run_instead_of_waiting_for_every_file(tmp_path):
    source = files(tmp_path, 64)
    for i in range(64):
        (tmp_path / f"{i}").unlink()
        os.mkfifo(tmp_path / f"{i}")
    with pytest.raises(
        DataError, match=r"source 's': \d+ samples in a row did not end; the last was given up"
    ):
        list(stream(source, threads=2, stall_s=0.05, workers=1))


HANGING = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import test_data_faults as t
source = t.files_with_a_fifo(Path(sys.argv[1]))
for workers in (0, 1):
    print(len(t.keys(list(t.stream(source, workers=workers)))[0]), flush=True)
"""


def files_with_a_fifo(folder: Path) -> SourceConfig:
    source = files(folder)
    (folder / "2").unlink()
    os.mkfifo(folder / "2")
    return source


def test_a_stuck_thread_keeps_no_process_from_ending(tmp_path):
    here = Path(__file__).parent
    command = [sys.executable, "-c", HANGING, str(tmp_path), str(here), str(here / "shared")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "8\n8\n"), done.stderr


def test_evaluation_leaves_out_what_hangs(tmp_path):
    config = Config(
        eval=EvalConfig(sources={"s": files_with_a_fifo(tmp_path)}, batch=5), data=DataConfig(stall_s=STALL_S)
    )
    data = EvalData(config, {"left": LEFT}, readers())
    rows = [row for batch in data.batches("s") for row in batch.ids_B.tolist()]
    assert rows == [0, 1, *range(3, 16)]
    assert "does not answer" in data.failures["s"].examples[0].reason


def test_a_crew_keeps_its_size_and_its_order_whatever_hangs():
    crew, never = Crew(2, stall_s=0.1), threading.Event()

    def call(number: int) -> int:
        if number in (1, 4):
            using(f"place{number}", never.wait)
        return number

    before = set(threading.enumerate())

    def hired() -> set[threading.Thread]:
        return {each for each in threading.enumerate() if each.name == "decode"} - before

    for _ in range(2):
        results = crew.start(call, [(i,) for i in range(6)]).results()
        assert results == [0, Stalled(0.1, "place1"), 2, 3, Stalled(0.1, "place4"), 5]
    assert len(hired()) == 2 + 4  # four are stuck
    never.set()  # and end as soon as they can
    crew.close()
    deadline = time.monotonic() + 10
    while hired():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_comes_too_late_is_thrown_away():
    crew, late = Crew(1, stall_s=0.1), threading.Event()
    errand = crew.start(lambda: late.wait(), [()])
    assert errand.results() == [Stalled(0.1, None)]
    late.set()
    assert crew.start(lambda: "next", [()]).results() == ["next"]
    assert errand.results() == [Stalled(0.1, None)]
    crew.close()


# ---------------------------------------------------------------------------------- broken at the start


class Parts:
    """Shards of two rows each; some of them are broken."""

    def __init__(self, count: int, broken: int) -> None:
        self.parts = (2,) * count
        self.broken = {f"{i}.tar": "it ends inside member 'x'" for i in range(broken)}

    def __len__(self) -> int:
        return sum(self.parts)

    def read(self, row, wanted) -> RawSample:
        return RawSample(f"{row}", {"left": b"1"})


def with_broken(count: int, broken: int, **data) -> TrainStream:
    reader = Reader("parts", lambda path: True, lambda path, options: Parts(count, broken))
    return stream(SourceConfig(path="it", modalities=["left"]), loaded=[reader], **data)


def test_one_broken_shard_is_warned_of_by_name(caplog):
    with_broken(4, 1).close()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.messages[0] == (
        "s: 8 samples of left; 1 of 4 shards cannot be read whole: '0.tar': it ends inside member 'x'"
    )


def test_more_broken_shards_than_the_limit_are_refused_with_what_to_do():
    with pytest.raises(ConfigError) as caught:
        with_broken(4, 2)
    assert str(caught.value).splitlines() == [
        "source 's': 2 of 4 shards cannot be read whole (50 %), and data.failure_limit is 1 %",
        "  '0.tar': it ends inside member 'x'",
        "  '1.tar': it ends inside member 'x'",
        "  fetch them again, or go on with what can be read:  data.failure_limit=1.0",
    ]
    with_broken(400, 4).close()
    with_broken(4, 2, failure_limit=1.0).close()
    with pytest.raises(ConfigError, match=r"400 shards.*\n(.*\n){10}  …"):
        with_broken(400, 12)
    with pytest.raises(ConfigError, match="1 of 400 shards"):
        with_broken(400, 1, failure_limit=0.0)


def test_options_out_of_range_are_told_all_at_once(tmp_path):
    wrong = {"failure_limit": 1.5, "stall_s": 0.0, "cache_gib": math.nan, "window_shards": 0}
    with pytest.raises(ConfigError) as caught:
        stream(files(tmp_path), **wrong)
    for name in wrong:
        assert f"data.{name}" in str(caught.value)
