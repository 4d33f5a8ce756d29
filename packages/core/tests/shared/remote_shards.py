"""What tests of the cache of remote shards ask of its folder and its threads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ranges import Store

from spectranet.data.stores import store
from spectranet.data.stores.state import Stat

SIZE = 300_000
SHARDS = [f"{i:02}.tar" for i in range(12)]


def shard(server: Store, name: str) -> tuple[str, Stat]:
    address = f"{server.url}/{name}"
    return address, store.stat(address)


def copies(directory: Path) -> list[str]:
    """Names of the shards that have complete copies."""
    found = (directory / "shards").glob("*.tar")
    return sorted(path.name.partition("-")[2] for path in found)


def parts(directory: Path) -> list[Path]:
    return sorted((directory / "shards").glob("*.part"))


def soon(condition: Callable[[], bool]) -> None:
    """Wait for what a thread or a process does."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def fetching() -> bool:
    return any(thread.name == "fetch-shards" for thread in threading.enumerate())


def age(directory: Path) -> None:
    """Let every copy be one that was used long ago, the first of the alphabet first."""
    for i, path in enumerate(sorted((directory / "shards").glob("*.tar"), key=lambda p: p.name[-6:])):
        os.utime(path, (1000 + i, 1000 + i))
