"""Have all ranks loaded the same plugins, in the same versions?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from spectranet.errors import PluginError
from spectranet.plugin_messages import differ_between_ranks
from spectranet.plugins import PluginHost
from spectranet.train.checkpoint.peers import Peers

__all__ = ["require_same_plugins"]


def require_same_plugins(peers: Peers, host: PluginHost) -> None:
    """Refuse to go on where they have not, before anything is written; all ranks call it first of all.

    Raises:
        PluginError: on every rank; names plugins, versions, ranks and the command.
        ConfigError: a rank has met a mistake before it could come here.
    """
    peers.together(lambda: None)
    digests = peers.all_tell(host.digest())
    if len(set(digests)) == 1:
        return
    there: list[Mapping[str, str]] = [json.loads(text) for text in peers.all_tell(json.dumps(host.releases))]
    peers.together(lambda: _refuse(there))


def _refuse(releases: Sequence[Mapping[str, str]]) -> None:
    """
    Args:
        releases: plugin -> distribution and version, of each rank.
    """
    differing = {}
    for name in sorted({name for each in releases for name in each}):
        ranks_with: dict[str, list[int]] = {}
        for rank, each in enumerate(releases):
            ranks_with.setdefault(each.get(name, ""), []).append(rank)
        if len(ranks_with) > 1:
            differing[name] = ranks_with
    raise PluginError(differ_between_ranks(differing))
