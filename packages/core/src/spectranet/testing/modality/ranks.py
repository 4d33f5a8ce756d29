"""What the contract asks of a modality on several ranks: the same numbers as on one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from spectranet.config.schema import TrainConfig
from spectranet.contracts import Encoded, ModalityBatch
from spectranet.testing.clause import clause, require
from spectranet.testing.modality.case import ModalityCase, projected, rows_of, sample_difference
from spectranet.testing.modality.tower import Tower
from spectranet.testing.ranks import on_ranks

if TYPE_CHECKING:
    from spectranet.train.distributed import World

__all__ = ["RankClauses", "compare"]

_SENT = ("plugin", "name", "options", "trunk_options", "fp32_within")


class RankClauses(ModalityCase):
    """The modality, sharded."""

    @clause
    def test_two_ranks_equal_one(self) -> None:
        """Sharded by FSDP2 over two ranks, the network gives the tokens, the loss and the gradients that it
        gives in one process, and the ranks end cleanly.

        Two real processes, started by ``torch.distributed.run``, share gloo on the CPU. Modules of
        ``shard_units`` are wrapped one by one and the rest as the root, as in a run; each rank has its own
        samples, of its own lengths. The ranks know ``plugin``, ``name``, ``options`` and ``trunk_options`` of
        the class, and nothing that a subclass overrides. Whatever touches a parameter does so in the forward
        of the encoder, of the trunk or of a shard unit.
        """
        on_ranks("spectranet.testing.modality.ranks:compare", {key: getattr(self, key) for key in _SENT})


def compare(case: Mapping[str, Any], world: World) -> dict[str, float]:
    """On each rank: the tower on its share of the samples, sharded and whole.

    Raises:
        BrokenClauseError: they differ.
    """
    from spectranet.train.parallel.parallelize import make_sharder, shard_root  # brings FSDP

    cls: type[ModalityCase] = type("Case", (ModalityCase,), dict(case))
    batch = cls.batch()
    half = len(batch.valid_BN) // world.size
    whole, sharded = cls.tower(), cls.new_tower()
    sharder = make_sharder(TrainConfig(), world, tuple(cls.modality().shard_units()))
    for part in sharded.parts().values():
        sharder(part)
    root = _Step(sharded)
    shard_root(root, TrainConfig(), world)  # type: ignore[arg-type]
    for rank in range(world.size):
        mine = rows_of(batch, rank * half, (rank + 1) * half)
        expected, total = _Step(whole)(mine)
        total.backward()
        if rank == world.rank:
            mine_of_rank, expected_of_rank = mine, expected
    encoded, total = root(mine_of_rank)
    total.backward()
    for row in range(half):
        apart = sample_difference(encoded, row, expected_of_rank, row)
        require(apart <= cls.fp32_within, f"tokens differ by {apart:.1e} of the largest from one process's")
    return {"gradient": _compare_gradients(sharded, whole, world, cls.fp32_within)}


class _Step(torch.nn.Module):
    """What a rank does in a step: a forward of everything, to one number."""

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, batch: ModalityBatch) -> tuple[Encoded, torch.Tensor]:
        encoded = self.tower(batch)
        return encoded, projected(encoded) + self.tower.target_loss(batch).sum


def _compare_gradients(sharded: Tower, whole: Tower, world: World, within: float) -> float:
    """The largest difference, as a share of the largest gradient of the whole network."""
    from torch.distributed.tensor import DTensor

    pairs = {}
    for (name, one), other in zip(sharded.named_parameters(), whole.parameters(), strict=True):
        found = torch.zeros_like(other) if one.grad is None else one.grad
        # FSDP takes the mean over ranks, of what is a sum over samples here.
        found = world.size * (found.full_tensor() if isinstance(found, DTensor) else found)
        pairs[name] = found, torch.zeros_like(other) if other.grad is None else other.grad
    largest = max(float(expected.abs().max()) for _, expected in pairs.values())
    apart = {
        name: float((found - expected).abs().max()) / largest for name, (found, expected) in pairs.items()
    }
    worst = max(apart, key=apart.__getitem__)
    require(
        apart[worst] <= within,
        f"the gradient of {worst} differs by {apart[worst]:.1e} of the largest; allowed is {within:.0e}",
    )
    return apart[worst]
