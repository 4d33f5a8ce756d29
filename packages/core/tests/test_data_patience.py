"""How long a store is waited for: tried again, given up, taken up again, in forked processes too."""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path

import pytest
from ranges import Store, serving

from spectranet.config import DataConfig
from spectranet.data.stores import patience, store
from spectranet.data.stores.patience import Patience
from spectranet.errors import DataError

CONTENT = os.urandom(300_000)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> Patience:
    """Three attempts within moments; an address that was given up rests for as long as a test lasts."""
    quick = Patience(delays_s=(0.01, 0.02), attempt_s=0.5, whole_s=0.5, rest_s=1000.0)
    monkeypatch.setattr(patience, "PATIENCE", quick)
    return quick


@pytest.fixture
def server(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(CONTENT)
    with serving(tmp_path) as server:
        yield server


def requests_for(server: Store, read) -> int:
    before = len(server.requests)
    with pytest.raises(DataError):
        read()
    return len(server.requests) - before


@pytest.mark.parametrize("kind", ["error", "vanish", "short", "stall"])
def test_what_fails_twice_is_read_at_the_third_attempt(server: Store, kind: str) -> None:
    server.fail("a.tar", kind, times=2)

    assert store.read_range(f"{server.url}/a.tar", 1000, 200_000) == CONTENT[1000:201_000]
    assert len(server.gets("a.tar")) == 3


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("error", "500, message='Internal Server Error'"),
        ("vanish", "it does not exist"),
        ("short", "100 bytes came instead of 200"),
        ("stall", "no answer in time"),
    ],
)
def test_what_keeps_failing_is_named_with_tries_and_reason(server: Store, kind: str, reason: str) -> None:
    server.fail("a.tar", kind)

    with pytest.raises(DataError) as error:
        store.read_range(f"{server.url}/a.tar", 0, 200)

    assert f"'{server.url}/a.tar' cannot be read (tried 3 times): " in str(error.value)
    assert reason in str(error.value)


def test_a_given_up_address_fails_at_once_with_the_same_reason(server: Store) -> None:
    address = f"{server.url}/a.tar"
    server.fail("a.tar", "error")
    messages = set()
    for attempts in (3, 0, 0):

        def read() -> None:
            try:
                store.read_range(address, 0, 200)
            except DataError as error:
                messages.add(str(error))
                raise

        before = len(server.gets("a.tar"))
        requests_for(server, read)
        assert len(server.gets("a.tar")) - before == attempts

    assert messages == {patience.given_up(address)}


class Clock:
    """Stands for ``time`` in :mod:`patience`: nobody waits, and no test depends on how fast it runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        monkeypatch.setattr(patience, "time", self)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.mark.parametrize(
    "attempt_s", [0.0, 10.0, 20.0], ids=["refused", "no answer", "no answer, whole file"]
)
def test_a_store_that_fails_for_half_a_minute_is_waited_for_but_less_long_than_a_stall(
    monkeypatch: pytest.MonkeyPatch, attempt_s: float
) -> None:
    monkeypatch.setattr(patience, "PATIENCE", Patience())
    clock = Clock(monkeypatch)

    def attempt() -> bytes:
        clock.now += attempt_s
        raise ConnectionRefusedError("refused")

    with pytest.raises(DataError, match="refused"):
        patience.persist(f"s3://bucket/{attempt_s}.tar", attempt)

    assert 30.0 < clock.now - 1000.0 < DataConfig().stall_s


@pytest.mark.parametrize("attempt_s", [0.0, 2.0])
def test_who_has_less_time_hears_the_reason_within_it(
    monkeypatch: pytest.MonkeyPatch, attempt_s: float
) -> None:
    monkeypatch.setattr(patience, "PATIENCE", Patience())
    clock = Clock(monkeypatch)
    said: list[str] = []

    def attempt() -> bytes:
        clock.now += attempt_s
        raise ConnectionRefusedError("refused")

    def work() -> None:
        patience.end_by(clock.now + 5.0)
        with pytest.raises(DataError) as error:
            patience.persist(f"s3://bucket/hurry-{attempt_s}.tar", attempt)
        said.append(str(error.value))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert "refused" in said[0]
    assert 2.0 <= clock.now - 1000.0 < 5.0


def test_a_blip_of_seconds_costs_no_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE", Patience())
    clock = Clock(monkeypatch)

    def attempt() -> bytes:
        if clock.now < 1025.0:
            raise ConnectionRefusedError("refused")
        return b"here"

    assert patience.persist("s3://bucket/blip.tar", attempt) == b"here"


def test_an_address_that_failed_is_asked_again_soon_and_one_that_hung_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(patience, "PATIENCE", Patience())
    clock = Clock(monkeypatch)
    for name in ("failed", "hung"):
        (tmp_path / name).write_bytes(CONTENT)
    failed, hung = str(tmp_path / "failed"), str(tmp_path / "hung")
    os.rename(failed, f"{failed}.away")
    with pytest.raises(DataError, match="does not exist"):
        store.read_range(failed, 0, 4)
    os.rename(f"{failed}.away", failed)
    patience.give_up(hung, "it hangs")

    clock.now += 2.0
    assert store.read_range(failed, 0, 4) == CONTENT[:4]
    assert patience.given_up(hung)
    clock.now += 60.0
    assert store.read_range(hung, 0, 4) == CONTENT[:4]


def test_a_given_up_address_is_tried_once_after_its_rest_and_then_used_again(
    server: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE", Patience(delays_s=(0.01, 0.02), rest_s=10.0))
    clock = Clock(monkeypatch)
    address = f"{server.url}/a.tar"

    def read() -> bytes:
        return store.read_range(address, 0, 200)

    server.fail("a.tar", "error")
    requests_for(server, read)
    clock.now += 11.0
    with pytest.raises(DataError, match="tried once more"):
        read()
    assert len(server.gets("a.tar")) == 3 + 1
    clock.now += 11.0
    assert requests_for(server, read) == 0, "the second rest is twice the first"
    server.mend()
    clock.now += 10.0

    assert read() == CONTENT[:200]
    assert patience.given_up(address) is None
    server.fail("a.tar", "error", times=2)
    assert read() == CONTENT[:200], "all attempts are there again"


def test_while_one_thread_tries_a_resting_address_the_others_do_not_wait_for_it(
    server: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE", Patience(delays_s=(), attempt_s=5.0, rest_s=0.0))
    address = f"{server.url}/a.tar"
    server.fail("a.tar", "error", times=2)
    with pytest.raises(DataError):
        store.read_range(address, 0, 200)
    server.fail("a.tar", "stall")
    found: list[bytes] = []
    prober = threading.Thread(target=lambda: found.append(store.read_range(address, 0, 200_000)))
    prober.start()
    while len(server.gets("a.tar")) < 2:
        time.sleep(0.01)

    assert requests_for(server, lambda: store.read_range(address, 0, 200)) == 0
    assert patience.in_use()[prober.ident] == address
    server.mend()
    prober.join()
    assert found == [CONTENT[:200_000]]
    assert prober.ident not in patience.in_use()


def test_a_local_file_that_vanishes_for_a_moment_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tar"
    waits = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            path.write_bytes(CONTENT)

    monkeypatch.setattr(patience.time, "sleep", sleep)

    assert store.read_range(str(path), 10, 5) == CONTENT[10:15]
    assert waits == [0.01, 0.02], "the waits are those of the configuration, without chance"


def test_missing_rights_are_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(store.os, "open", refuse)
    with pytest.raises(DataError, match=r"tried once\): Permission denied"):
        store.read_range(str(tmp_path / "a.tar"), 0, 1)


def test_a_refusal_of_a_store_is_not_asked_for_again(server: Store) -> None:
    server.fail("a.tar", "refuse")
    with pytest.raises(DataError, match=r"a\.tar' cannot be read \(tried once\): .*403"):
        store.read_range(f"{server.url}/a.tar", 0, 10)

    assert len(server.gets("a.tar")) == 1


def test_a_small_file_that_is_refused_counts_as_absent(server: Store) -> None:
    server.hides_absence = True
    with pytest.raises(store.Absent):
        store.read_all(f"{server.url}/a.tar.index")

    assert len(server.requests) == 1


def test_another_may_give_an_address_up(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(CONTENT)

    patience.give_up(str(path), "it hangs")

    with pytest.raises(DataError, match=r"^it hangs$"):
        store.read_range(str(path), 0, 1)


def test_a_failing_server_is_not_taken_for_an_absent_file(server: Store) -> None:
    server.fail("a.tar", "error")
    with pytest.raises(DataError, match=r"tried 3 times.*500") as error:
        store.stat(f"{server.url}/a.tar")

    assert not isinstance(error.value, store.Absent)


def test_a_server_that_is_down_is_not_taken_for_an_absent_file(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        address = f"{server.url}/a.tar"
    for look in (store.stat, store.read_all):
        with pytest.raises(DataError) as error:
            look(address)
        assert not isinstance(error.value, store.Absent)


def test_forked_processes_read_urls_that_their_parent_has_read(server: Store) -> None:
    address = f"{server.url}/a.tar"
    assert store.read_range(address, 0, 10) == CONTENT[:10]
    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if store.read_range(address, 20, 10) == CONTENT[20:30] else 1)
        children.append(pid)

    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]


def test_a_parent_reads_on_while_its_children_read_too(
    server: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system of the parent that ends in a child would take the parent's sockets with it."""
    monkeypatch.setattr(patience, "PATIENCE", Patience(delays_s=(), attempt_s=5.0))
    address = f"{server.url}/a.tar"
    for _ in range(4):
        assert store.read_range(address, 0, 10) == CONTENT[:10]
        pid = os.fork()
        if pid == 0:
            read = store.read_range(address, 20, 10)
            gc.collect()
            os._exit(0 if read == store.read_range(address, 20, 10) == CONTENT[20:30] else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert store.read_range(address, 30, 10) == CONTENT[30:40]
