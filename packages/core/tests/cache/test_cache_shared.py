"""Copies of remote shards that processes share, and what a killed one leaves."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from ranges import Store
from remote_shards import SHARDS, SIZE, age, copies, parts, shard, soon

from spectranet.data.stores.cache import ShardCache
from spectranet.data.stores.copies import Copies, NoRoom

FORK = multiprocessing.get_context("fork")


def test_processes_that_share_a_cache_stay_below_its_limit_and_read_right(
    server: Store, directory: Path, contents: dict[str, bytes]
) -> None:
    limit = 4 * SIZE
    cache = ShardCache(str(directory), limit, recent_s=0.0)
    shards = [shard(server, name) for name in SHARDS]

    def work(turn: int) -> None:
        mine = shards[turn:] + shards[:turn]
        for _ in range(3):
            for url, stat in mine:
                with suppress(NoRoom):  # others are writing
                    cache.fetch(url, stat)
                if cache.read(url, stat, turn, 1000) != contents[url[-6:]][turn : turn + 1000]:
                    os._exit(1)
        os._exit(0)

    workers = [FORK.Process(target=work, args=(turn,)) for turn in (0, 3, 6, 9)]
    for worker in workers:
        worker.start()
    largest = 0
    while any(worker.is_alive() for worker in workers):
        with cache._copies._alone():
            largest = max(largest, sum(entry.stat().st_size for entry in os.scandir(directory / "shards")))

    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    assert 2 * SIZE < largest <= limit
    assert parts(directory) == []


def test_processes_fetch_a_shard_once(server: Store, directory: Path) -> None:
    cache = ShardCache(str(directory), 1 << 30)
    window = [shard(server, name) for name in SHARDS]
    server.chunk_delay_s = 0.01

    def work() -> None:
        cache.fetch_ahead(window)
        soon(lambda: copies(directory) == SHARDS)
        os._exit(0)

    workers = [FORK.Process(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    assert {name: len(server.gets(name)) for name in SHARDS} == dict.fromkeys(SHARDS, 1)


def test_a_killed_process_leaves_no_torn_copy_and_its_leftover_is_removed(
    server: Store, directory: Path, contents: dict[str, bytes]
) -> None:
    cache = ShardCache(str(directory), 2 * SIZE)
    url, stat = shard(server, "00.tar")
    server.fail("00.tar", "stall")
    worker = FORK.Process(target=cache.fetch, args=(url, stat))
    worker.start()
    soon(lambda: len(server.gets("00.tar")) == 1)
    os.kill(worker.pid or 0, signal.SIGKILL)
    worker.join()
    assert copies(directory) == [] and len(parts(directory)) == 1
    server.mend()

    for name in SHARDS[1:3]:  # there is room for both
        cache.fetch(*shard(server, name))

    assert copies(directory) == SHARDS[1:3] and parts(directory) == []
    assert cache.read(url, stat, 3, 9) == contents["00.tar"][3:12]


def test_a_process_forked_while_its_parent_fetches_reads_and_fetches_too(
    server: Store, directory: Path, contents: dict[str, bytes]
) -> None:
    cache = ShardCache(str(directory), 1 << 30)
    window = [shard(server, name) for name in SHARDS]
    server.chunk_delay_s = 0.02
    cache.fetch_ahead(window[:6])
    cache.read(*window[0], 0, 1)

    def work() -> None:
        cache.fetch_ahead(window[6:])
        if cache.read(*window[7], 5, 5) != contents["07.tar"][5:10]:
            os._exit(1)
        soon(lambda: copies(directory) == SHARDS)
        os._exit(0)

    workers = [FORK.Process(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert [worker.exitcode for worker in workers] == [0, 0]


def test_a_cache_pickles_while_it_fetches(server: Store, directory: Path) -> None:
    cache = ShardCache(str(directory), 1 << 30)
    cache.fetch_ahead([shard(server, name) for name in SHARDS[:2]])
    again = pickle.loads(pickle.dumps(cache))
    again.fetch_ahead([shard(server, "05.tar")])

    soon(lambda: len(copies(directory)) == 3)
    assert copies(directory) == [*SHARDS[:2], "05.tar"]


def test_a_lower_limit_holds_from_the_next_copy_on(server: Store, directory: Path) -> None:
    for name in SHARDS[:6]:
        ShardCache(str(directory), 1 << 30).fetch(*shard(server, name))
    age(directory)
    ShardCache(str(directory), 2 * SIZE).fetch(*shard(server, "06.tar"))

    assert copies(directory) == ["05.tar", "06.tar"]


def test_what_another_removes_while_room_is_made_is_room(directory: Path, monkeypatch) -> None:
    of = Copies(str(directory), 1000, recent_s=0.0)
    for name in ("a", "b", "c"):
        with of.writing(name, 300) as part:
            assert part is not None
    age_of = {name: 1000 + i for i, name in enumerate(("a", "b", "c"))}
    for name, mtime in age_of.items():
        os.utime(directory / name, (mtime, mtime))
    really = os.scandir

    def scandir(folder: str):
        entries = [*really(folder)]
        (directory / "a").unlink(missing_ok=True)
        return entries

    monkeypatch.setattr(os, "scandir", scandir)
    with of.writing("d", 300) as part:
        assert part is not None

    assert sorted(path.name for path in directory.iterdir() if path.name != ".lock") == ["b", "c", "d"]


def test_a_write_that_fails_takes_its_part_away(directory: Path) -> None:
    of = Copies(str(directory), 1000)
    with pytest.raises(RuntimeError), of.writing("a", 10) as part:
        assert part is not None
        raise RuntimeError

    with of.writing("a", 10) as part:
        assert part is not None
        part.write(bytes(10))
        with of.writing("a", 10) as second:
            assert second is None, "somebody is at it"
    with of.writing("a", 10) as part:
        assert part is None, "it is there"
    assert of.use("a") == str(directory / "a")
