"""Copies of remote shards: fetched ahead, bounded, never a reason to wait or fail."""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
from pathlib import Path

import pytest
from ranges import Store
from remote_shards import SHARDS, SIZE, age, copies, fetching, parts, shard, soon

from spectranet.data.stores import store
from spectranet.data.stores.cache import ShardCache
from spectranet.data.stores.copies import NoRoom
from spectranet.data.stores.state import Stat
from spectranet.errors import DataError

FORK = multiprocessing.get_context("fork")

# ----------------------------------------------------------------------------------- fetching ahead


def test_what_was_fetched_ahead_is_read_without_a_request(
    server: Store, directory: Path, contents: dict[str, bytes]
) -> None:
    cache = ShardCache(str(directory), 1 << 30)
    server.chunk_delay_s = 0.02
    window = [shard(server, name) for name in SHARDS[:4]]
    next_window = [shard(server, name) for name in SHARDS[4:8]]

    cache.fetch_ahead(window + next_window)
    for url, stat in window:  # a window is read while the next one is fetched
        assert cache.read(url, stat, 100, 50) == contents[url[-6:]][100:150]
    soon(lambda: copies(directory) == SHARDS[:8])

    before = len(server.requests)
    for url, stat in next_window:
        assert cache.read(url, stat, 1000, SIZE - 1000) == contents[url[-6:]][1000:]
    assert len(server.requests) == before


def test_fetching_ahead_returns_before_anything_is_fetched(server: Store, directory: Path) -> None:
    cache = ShardCache(str(directory), 1 << 30)
    window = [shard(server, name) for name in SHARDS[:3]]
    for name in SHARDS:
        server.fail(name, "stall")

    cache.fetch_ahead(window)

    assert copies(directory) == []
    server.mend()
    soon(lambda: copies(directory) == SHARDS[:3])


def test_a_copy_that_is_being_fetched_is_not_waited_for(
    server: Store, directory: Path, contents: dict[str, bytes]
) -> None:
    cache = ShardCache(str(directory), 1 << 30)
    url, stat = shard(server, "00.tar")
    server.fail("00.tar", "stall", times=1)
    cache.fetch_ahead([(url, stat)])
    soon(lambda: len(server.gets("00.tar")) == 1)

    assert cache.read(url, stat, 5, 10) == contents["00.tar"][5:15]
    assert copies(directory) == [] and len(parts(directory)) == 1


def test_the_newest_window_is_fetched_and_older_wishes_are_dropped(server: Store, directory: Path) -> None:
    cache = ShardCache(str(directory), 1 << 30)
    old = [shard(server, name) for name in SHARDS[:6]]
    new = [shard(server, name) for name in SHARDS[8:]]
    for name in SHARDS[:2]:  # both threads hang here
        server.fail(name, "stall", times=1)
    cache.fetch_ahead(old)
    soon(lambda: all(server.gets(name) for name in SHARDS[:2]))
    cache.fetch_ahead(new)
    server.mend()

    soon(lambda: copies(directory) == SHARDS[:2] + SHARDS[8:])
    assert not any(server.gets(name) for name in SHARDS[2:8])


def test_a_shard_that_is_read_again_and_again_is_fetched_unasked(
    server: Store, directory: Path, contents: dict[str, bytes]
) -> None:
    cache = ShardCache(str(directory), 1 << 30)
    url, stat = shard(server, "03.tar")
    for i in range(7):
        cache.read(url, stat, i, 10)
    assert copies(directory) == []

    cache.read(url, stat, 7, 10)

    soon(lambda: copies(directory) == ["03.tar"])


def test_what_cannot_be_fetched_is_met_when_it_is_read(server: Store, directory: Path) -> None:
    cache = ShardCache(str(directory), 1 << 30)
    window = [shard(server, name) for name in SHARDS[:4]]
    for name in SHARDS[:3]:
        server.fail(name, "error")

    cache.fetch_ahead(window)

    soon(lambda: copies(directory) == ["03.tar"] and not fetching())
    with pytest.raises(DataError, match=r"00\.tar' cannot be read \(tried 2 times\).*500"):
        cache.read(*window[0], 0, 10)
    assert parts(directory) == []


# ------------------------------------------------------------------------------------ what is a copy


def test_a_changed_object_has_another_copy(server: Store, directory: Path) -> None:
    cache = ShardCache(str(directory), 1 << 30)
    url, old = shard(server, "00.tar")
    cache.fetch(url, old)
    (server.folder / "00.tar").write_bytes(b"n" * SIZE)
    new = store.stat(url)
    cache.fetch(url, new)

    assert copies(directory) == ["00.tar", "00.tar"]
    assert cache.read(url, new, 0, 4) == b"nnnn" != cache.read(url, old, 0, 4)


def test_an_object_that_changes_while_it_is_fetched_gives_no_copy(server: Store, directory: Path) -> None:
    cache = ShardCache(str(directory), 1 << 30)
    url, stat = shard(server, "00.tar")
    server.chunk_delay_s = 0.05
    thread_error: list[str] = []

    def fetch() -> None:
        try:
            cache.fetch(url, stat)
        except DataError as error:
            thread_error.append(str(error))

    worker = FORK.Process(target=lambda: (fetch(), os._exit(0 if "was changed" in thread_error[0] else 1)))
    worker.start()
    soon(lambda: len(server.gets("00.tar")) == 1)
    (server.folder / "00.tar").write_bytes(b"n" * SIZE)
    worker.join()

    assert worker.exitcode == 0
    assert copies(directory) == [] and parts(directory) == []


@pytest.mark.parametrize("other", [Stat(SIZE - 1, ""), Stat(SIZE, 'ETag="of another version"')])
def test_an_object_that_is_not_what_was_indexed_gives_no_copy(
    server: Store, directory: Path, other: Stat
) -> None:
    with pytest.raises(DataError, match=r"00\.tar' is not what was indexed"):
        ShardCache(str(directory), 1 << 30).fetch(f"{server.url}/00.tar", other)

    assert copies(directory) == [] and parts(directory) == []


def test_a_copy_that_disappears_between_two_reads_is_fetched_again(
    server: Store, directory: Path, contents: dict[str, bytes]
) -> None:
    cache = ShardCache(str(directory), 1 << 30)
    url, stat = shard(server, "00.tar")
    cache.fetch(url, stat)
    cache.read(url, stat, 0, 1)
    for path in (directory / "shards").glob("*.tar"):
        path.unlink()

    for i in range(8):
        assert cache.read(url, stat, i, 10) == contents["00.tar"][i : i + 10]
    soon(lambda: copies(directory) == ["00.tar"])


def test_a_copy_that_lost_its_end_is_not_used(
    server: Store, directory: Path, contents: dict[str, bytes]
) -> None:
    url, stat = shard(server, "00.tar")
    ShardCache(str(directory), 1 << 30).fetch(url, stat)
    for path in (directory / "shards").glob("*.tar"):
        os.truncate(path, 100)

    assert ShardCache(str(directory), 1 << 30).read(url, stat, 200, 10) == contents["00.tar"][200:210]
    assert copies(directory) == []


def test_a_copy_that_loses_its_end_while_it_is_used_is_read_from_the_store(
    server: Store, directory: Path, contents: dict[str, bytes]
) -> None:
    cache = ShardCache(str(directory), 1 << 30)
    url, stat = shard(server, "00.tar")
    cache.fetch(url, stat)
    assert cache.read(url, stat, 0, 10) == contents["00.tar"][:10]
    for path in (directory / "shards").glob("*.tar"):
        os.truncate(path, 100)

    assert cache.read(url, stat, 200, 10) == contents["00.tar"][200:210]
    assert cache.read(url, stat, 300, 10) == contents["00.tar"][300:310]
    assert copies(directory) == []


def test_a_shard_with_a_long_name_in_any_script_has_a_copy(
    server: Store, directory: Path, contents: dict[str, bytes]
) -> None:
    name = "漢" * 80 + ".tar"
    (server.folder / name).write_bytes(contents["00.tar"])
    cache = ShardCache(str(directory), 1 << 30)
    cache.fetch(*shard(server, name))

    (copy,) = (directory / "shards").glob("*.tar")
    assert copy.read_bytes() == contents["00.tar"]
    assert copy.name.endswith("漢漢.tar") and len(os.fsencode(copy.name)) < 200


# ------------------------------------------------------------------------------------------- bounds


def test_what_was_used_longest_ago_makes_room(server: Store, directory: Path) -> None:
    cache = ShardCache(str(directory), 3 * SIZE + 10)
    for name in SHARDS[:3]:
        cache.fetch(*shard(server, name))
    age(directory)
    cache.read(*shard(server, "00.tar"), 0, 1)

    cache.fetch(*shard(server, "03.tar"))

    assert copies(directory) == ["00.tar", "02.tar", "03.tar"]


def test_what_was_just_used_stays(server: Store, directory: Path) -> None:
    cache = ShardCache(str(directory), 2 * SIZE)
    for name in SHARDS[:2]:
        cache.fetch(*shard(server, name))

    with pytest.raises(NoRoom):
        cache.fetch(*shard(server, "02.tar"))

    assert copies(directory) == SHARDS[:2] and parts(directory) == []


def test_two_windows_that_do_not_fit_are_said_once_with_the_numbers(
    server: Store, directory: Path, contents: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    cache = ShardCache(str(directory), 3 * SIZE)
    (server.folder / "large.tar").write_bytes(bytes(4 * SIZE))
    large = shard(server, "large.tar")
    window = [large, *(shard(server, name) for name in SHARDS[:5])]
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            cache.fetch_ahead(window)
            soon(lambda: copies(directory) == SHARDS[:3])

    (message,) = [each.getMessage() for each in caplog.records]
    assert "6 shards of two windows take 0.00251 GiB, more than the 0.000838 GiB of data.cache_gib" in message
    assert "3 of them are read by ranges" in message
    assert cache.read(*large, 3 * SIZE, 10) == bytes(10)
    assert cache.read(*window[5], 7, 3) == contents["04.tar"][7:10]


def test_no_room_beside_what_is_in_use_is_said_once(
    server: Store, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ShardCache(str(directory), 1 << 30).fetch(*shard(server, "00.tar"))
    cache = ShardCache(str(directory), SIZE + 10)
    with caplog.at_level(logging.WARNING):
        for name in SHARDS[1:4]:
            cache.fetch_ahead([shard(server, name)])
            soon(lambda: not fetching())

    (message,) = [each.getMessage() for each in caplog.records]
    assert "does not fit beside the shards in use into the 0.000279 GiB of data.cache_gib" in message
    assert copies(directory) == ["00.tar"]


@pytest.mark.parametrize("trouble", ["full", "no folder"])
def test_a_disk_that_takes_no_copies_costs_one_warning(
    server: Store,
    directory: Path,
    contents: dict[str, bytes],
    caplog: pytest.LogCaptureFixture,
    trouble: str,
) -> None:
    cache = ShardCache(str(directory), 1 << 30)
    window = [shard(server, name) for name in SHARDS[:4]]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if trouble == "no folder":
        directory.write_bytes(b"a file")
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE // 2, hard))
    try:
        with caplog.at_level(logging.WARNING):
            cache.fetch_ahead(window)
            soon(lambda: bool(caplog.records) and not fetching())
            cache.fetch_ahead(window)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    (message,) = [each.getMessage() for each in caplog.records]
    assert f"shards cannot be kept in '{directory}/shards'" in message
    assert cache.read(*window[0], 5, 10) == contents["00.tar"][5:15]
    if trouble == "full":
        assert copies(directory) == [] and parts(directory) == []


def test_a_limit_of_nothing_keeps_nothing(
    server: Store, directory: Path, contents: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    cache = ShardCache(str(directory), 0)
    url, stat = shard(server, "00.tar")
    cache.fetch_ahead([(url, stat)])
    for i in range(20):
        assert cache.read(url, stat, i, 10) == contents["00.tar"][i : i + 10]

    assert not directory.exists() and not caplog.records
