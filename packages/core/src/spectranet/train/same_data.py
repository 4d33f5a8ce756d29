"""Do all ranks have the same data?"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from spectranet.train.distributed import World
from spectranet.train.stopping.place import Progress
from spectranet.train.stopping.stop import StopFlag

__all__ = ["require_same_data", "usable_everywhere"]


def require_same_data(world: World, corpus: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse to go on where a copy of a source is incomplete or another; a collective call.

    Args:
        corpus: see :func:`spectranet.data.corpus.describe_corpus`.

    Raises:
        ConfigError: on every rank; names the first such source and the ranks.
    """
    for name, told in corpus.items():
        here = f"{told['samples']:,} samples, {told['parts']:,} shards, {told['broken']:,} of them broken"
        world.require_same(f"the files of source '{name}' (here {here})", json.dumps(told, sort_keys=True))


def usable_everywhere(
    world: World, stop: StopFlag | None = None, progress: Progress | None = None
) -> Callable[[Sequence[bool]], Sequence[bool]]:
    """From what a rank can use of some rows to what every rank can; to be called by all, row for row.

    In a training run the ranks agree at the same time on whether to stop, and show that they go on.

    Raises:
        Stopped: the function that is returned: some rank was asked to stop.
    """

    def agree(usable: Sequence[bool]) -> Sequence[bool]:
        flags = stop.flags() if stop is not None else []
        # On the CPU: the GPU need not have ended its forward for it.
        summed = world.sum(torch.tensor([*flags, *map(float, usable)])).tolist()
        if stop is not None:
            stop.obey(summed[: len(flags)])
        if progress is not None:
            progress.tick()
        return [ranks == world.size for ranks in summed[len(flags) :]]

    return agree
