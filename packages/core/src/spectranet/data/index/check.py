"""Are the indexes of these shards fresh, and are the shards still what was indexed?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from spectranet.data.index.build import find
from spectranet.data.index.place import Place
from spectranet.data.index.scan import scan_shard
from spectranet.data.index.shard import ShardIndex
from spectranet.data.shards import ShardList
from spectranet.errors import DataError

__all__ = ["unfit"]

_THREADS = 16


def unfit(
    shards: ShardList, cache_dir: str, *, checksums: bool = False, workers: int | None = None
) -> dict[str, str]:
    """By address, the shards that have no index that can be used, and why. Nothing is written.

    Args:
        checksums: read all of every shard, and compare it with the checksums in its index.
        workers: threads.
    """
    places = [
        Place(folder, cache_dir, alone=shards.has_queries(number))
        for number, folder in enumerate(shards.folders)
    ]

    def reason(shard: int) -> str:
        place, name, stat = places[shards.folder_S[shard]], shards.name(shard), shards.stat(shard)
        found = find(place, name, stat, checksums=checksums)
        if found.index is None:
            return found.stale or "it has no index"
        if not checksums:
            return ""
        try:
            now = scan_shard(shards.address(shard), stat, checksums=True)
        except DataError as error:
            return str(error)
        return _changed(found.index, now)

    with ThreadPoolExecutor(workers or _THREADS) as pool:
        reasons = list(pool.map(reason, range(len(shards))))
    return {shards.address(shard): why for shard, why in enumerate(reasons) if why}


def _changed(before: ShardIndex, now: ShardIndex) -> str:
    """The first sample whose bytes are others than when they were indexed."""
    if before.row() != now.row() or not np.array_equal(before.block_M, now.block_M):
        return "its members are others than those that were indexed"
    for sample in range(len(before)):
        if before.members(sample) != now.members(sample):
            return f"the bytes of sample '{now.key(sample)}' are not those that were indexed; it is damaged"
    return ""
