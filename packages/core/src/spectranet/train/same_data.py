"""Do all ranks have the same data?"""

from __future__ import annotations

import json
from collections.abc import Sequence

from spectranet.data.corpus import describe_corpus
from spectranet.data.source import Source
from spectranet.train.distributed import World

__all__ = ["require_same_data"]


def require_same_data(world: World, sources: Sequence[Source]) -> None:
    """Refuse to go on where a copy of a source is incomplete or another; a collective call.

    Raises:
        ConfigError: on every rank; names the first such source and the ranks.
    """
    for name, told in describe_corpus(sources).items():
        here = f"{told['samples']:,} samples, {told['parts']:,} shards, {told['broken']:,} of them broken"
        world.require_same(f"the files of source '{name}' (here {here})", json.dumps(told, sort_keys=True))
