"""Over which ranks is the model sharded, and over which is it replicated?"""

from __future__ import annotations

from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from spectranet.errors import ConfigError

__all__ = ["check_shard_ranks", "rank_mesh", "replicas_of"]


def rank_mesh(device: str, ranks: int, shard_ranks: int | None = None) -> DeviceMesh:
    """A mesh ("shard",) over all ranks, or ("replicate", "shard") where fewer hold one copy of the model.

    Ranks that follow one another hold a copy together: those of one server, as launchers number them.

    Raises:
        ConfigError: see :func:`check_shard_ranks`.
    """
    check_shard_ranks(ranks, shard_ranks)
    if shard_ranks is None or shard_ranks == ranks:
        return init_device_mesh(device, (ranks,), mesh_dim_names=("shard",))
    shape = (ranks // shard_ranks, shard_ranks)
    return init_device_mesh(device, shape, mesh_dim_names=("replicate", "shard"))


def replicas_of(mesh: DeviceMesh) -> int:
    """Copies of the model among the ranks."""
    return mesh.size(0) if mesh.ndim == 2 else 1


def check_shard_ranks(ranks: int, shard_ranks: int | None) -> None:
    """
    Raises:
        ConfigError: the ranks cannot be cut into groups of ``shard_ranks``.
    """
    if shard_ranks is None or (shard_ranks >= 1 and ranks % shard_ranks == 0):
        return
    choices = ", ".join(str(n) for n in range(1, ranks + 1) if ranks % n == 0)
    raise ConfigError(
        f"train.shard_ranks = {shard_ranks} does not divide the {ranks} ranks of this run.\n"
        f"  it may be one of {choices}; to shard over all of them:  train.shard_ranks=null"
    )
