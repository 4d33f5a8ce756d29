"""A save goes wrong in ways that no disk shows: between two looks, in memory, for ever."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
import toy_run

import spectranet.train.checkpoint.save as save
from spectranet.config.schema import CheckpointConfig
from spectranet.train.checkpoint import Saver, find_good_checkpoint, list_checkpoints
from spectranet.train.snapshot import announcer


@pytest.fixture(scope="module")
def model():
    return toy_run.toy_model()


@pytest.fixture
def said():
    return []


@pytest.fixture
def saver(model, tmp_path, said):
    saver = Saver(tmp_path, CheckpointConfig(every=10), model[2], said.append)
    saver.alive_for = []
    saver._alive = lambda: saver.alive_for.append(saver._files_written)
    return saver


class EndsBetweenLooks:
    """A thread that fails just after it was first looked at."""

    def __init__(self) -> None:
        self.error: OSError | None = None
        self._looks = 0

    @property
    def done(self) -> bool:
        self._looks += 1
        if self._looks > 1:
            self.error = OSError("the disk is full")
        return self._looks > 1


@pytest.mark.parametrize("job", ["write", "publish"])
def test_a_thread_that_fails_between_two_looks_is_never_taken_for_one_that_has_done_its_work(saver, job):
    jobs = {"write": SimpleNamespace(done=True, error=None), "publish": None, job: EndsBetweenLooks()}
    saver._save = save._Save(3, {}, 0, **jobs)
    for _ in range(3):
        written, failed, published, _ = saver.counts()
        if jobs[job].error is not None and (published if job == "publish" else written):
            assert failed
        assert not (failed and published)
    assert failed


def test_a_copy_for_which_there_is_no_memory_is_a_save_that_failed_and_is_tried_again(
    model, saver, said, monkeypatch
):
    def no_room(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes.")

    with monkeypatch.context() as patch:
        patch.setattr(save.Stage, "copy", no_room)
        saver.begin(10, *model[:2], {})
        saver.wait()
    (warning,) = said
    assert "could not be written: rank 0: RuntimeError: DefaultCPUAllocator: can't allocate" in warning
    assert saver.due(11)
    saver.begin(11, *model[:2], {})
    saver.wait()
    assert [path.name for path in list_checkpoints(saver._directory)] == ["step-00000011"]


def test_storage_that_hangs_is_no_sign_of_life_and_storage_that_goes_on_is_one(model, saver, monkeypatch):
    goes_on, looks = threading.Event(), []
    write, counts = save.write, saver.counts
    monkeypatch.setattr(save, "cut", lambda shards: [shards[:1], shards[1:]])
    monkeypatch.setattr(save, "write", lambda path, shards: goes_on.wait(60) and write(path, shards))

    def look():
        looks.append(len(saver.alive_for))
        if len(looks) == 10:
            goes_on.set()
        return counts()

    monkeypatch.setattr(saver, "counts", look)
    saver.begin(10, *model[:2], {})
    saver.wait()
    assert looks[9] == 1  # the first look; nothing has changed in those that followed
    assert len(saver.alive_for) > 1
    assert find_good_checkpoint(saver._directory)[0].step == 10


def test_an_error_of_the_run_lets_a_save_under_way_end(model, saver):
    told = []
    saver._saved = lambda path, step: told.append((path.name, step))
    saver.begin(10, *model[:2], {})
    saver.finish_alone()
    assert told == [("step-00000010", 10)]
    assert find_good_checkpoint(saver._directory)[0].step == 10
    saver.finish_alone()  # there is nothing left to end
    assert len(told) == 1


def test_a_listener_that_fails_is_named_and_the_others_are_told(tmp_path):
    def leaves(path, step):
        raise SystemExit("no space in the bucket")

    heard, said = [], []
    listeners = {"bucket": leaves, "notes": lambda path, step: heard.append((path, step))}
    journal = SimpleNamespace(active=True, event=lambda *_, **__: None, say=said.append)
    host = SimpleNamespace(callers=lambda hook: listeners if hook == "spectranet_checkpoint_saved" else {})
    announcer(SimpleNamespace(saved=heard.append), host, journal)(tmp_path, 7)
    assert heard == [7, (str(tmp_path), 7)]
    assert said == [
        "warning: plugin 'bucket' failed on the checkpoint of step 7: SystemExit: no space in the bucket"
    ]
