"""Locks of files: one holder at a time, whoever dies and whatever was removed."""

from __future__ import annotations

import errno
import fcntl
import logging
import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest

from spectranet.data.index.place import Place
from spectranet.data.stores.lock import Busy, locked

FORK = multiprocessing.get_context("fork")


def count_alone(lock: Path, counter: Path, times: int) -> None:
    for _ in range(times):
        with locked(str(lock), 60.0):
            counter.write_text(str(int(counter.read_text()) + 1))


def test_many_processes_are_alone_in_turn_though_each_removes_the_lock(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    arguments = (tmp_path / "lock", counter, 40)
    workers = [FORK.Process(target=count_alone, args=arguments) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert [worker.exitcode for worker in workers] == [0] * 4
    assert counter.read_text() == "160"
    assert not (tmp_path / "lock").exists()


def test_a_lock_that_was_removed_while_it_was_waited_for_is_not_taken(tmp_path: Path, monkeypatch) -> None:
    """The third would lock a new file of the same name, and two would work at once."""
    lock = str(tmp_path / "lock")
    really, stolen = fcntl.flock, []

    def flock(file: int, how: int) -> None:
        really(file, how)
        if how & fcntl.LOCK_EX and not stolen:  # the one before us removes it between open and flock
            stolen.append(os.fstat(file).st_ino)
            os.rename(lock, f"{lock}.gone")

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(lock, 1.0):
        assert os.stat(lock).st_ino not in stolen
        with pytest.raises(Busy), locked(lock, 0.0):
            pass


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    def hold() -> None:
        with locked(str(tmp_path / "lock"), 0.0):
            (tmp_path / "held").touch()
            signal.pause()

    holder = FORK.Process(target=hold)
    holder.start()
    while not (tmp_path / "held").exists():
        pass
    with pytest.raises(Busy), locked(str(tmp_path / "lock"), 0.1):
        pass
    os.kill(holder.pid or 0, signal.SIGKILL)
    holder.join()

    with locked(str(tmp_path / "lock"), 0.0):
        pass


def test_threads_wait_for_each_other_too(tmp_path: Path) -> None:
    order: list[str] = []
    with locked(str(tmp_path / "lock"), 0.0):
        second = threading.Thread(target=lambda: _note(tmp_path / "lock", order))
        second.start()
        order.append("first")
    second.join()
    assert order == ["first", "second"]


def _note(lock: Path, order: list[str]) -> None:
    with locked(str(lock), 60.0):
        order.append("second")


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_indexes_are_made_without_a_lock_where_a_file_system_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: int
) -> None:
    def flock(file: int, how: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "flock", flock)
    place = Place(str(tmp_path), str(tmp_path / "cache"))
    with caplog.at_level(logging.INFO), place.lock("0.tar.index", wait=False):
        assert "no lock for '0.tar.index'" in caplog.text
