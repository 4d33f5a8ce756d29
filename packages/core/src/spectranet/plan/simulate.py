"""What does one micro-batch cost on one of many ranks, by the code that trains?

The model is built, sharded and run forward and backward as in training, on a process group that
answers without sending anything and on tensors that have no contents. The device is the CPU whatever
is planned for: torch cannot run a backward on imagined CUDA tensors without CUDA.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
import torch.distributed as dist
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.distributed.fsdp import FSDPModule
from torch.utils._python_dispatch import _disable_current_modes

from spectranet.config import Config
from spectranet.contracts import Batch
from spectranet.errors import SpectraNetError
from spectranet.model.build import Parts, build_model, count_parameters
from spectranet.model.spectranet import SpectraNet
from spectranet.plan.batches import imagined_batch, largest_batch
from spectranet.plan.imagined import Answers
from spectranet.plan.meter import Meter
from spectranet.train.distributed import World
from spectranet.train.objective_pass import ObjectivePass, coefficients
from spectranet.train.optimizer import build_optimizer, fill_gradients
from spectranet.train.parallel.mesh import check_shard_ranks, rank_mesh
from spectranet.train.parallel.parallelize import make_sharder, shard_root

__all__ = ["Cost", "Phase", "PlanError", "Rehearsal", "rehearse", "step_cost"]

_UNANSWERABLE = (DataDependentOutputException, DynamicOutputShapeException, UnsupportedOperatorException)


class PlanError(SpectraNetError):
    """A run cannot be planned."""


@dataclass(frozen=True)
class Phase:
    """What happens from one call of the model to the next.

    Attributes:
        operations: how many are started one after the other.
        flops: a multiplication and an addition counting as two.
        collectives: name -> bytes of the whole tensors, gathered or reduced over all ranks.
    """

    operations: int = 0
    flops: int = 0
    collectives: Mapping[str, int] = field(default_factory=dict)

    def plus(self, other: Phase, share: float = 1) -> Phase:
        """With ``other``, or a share of it, besides."""
        mine, theirs = self.collectives, other.collectives
        return Phase(
            self.operations + round(share * other.operations),
            self.flops + round(share * other.flops),
            {n: mine.get(n, 0) + round(share * theirs.get(n, 0)) for n in dict.fromkeys((*mine, *theirs))},
        )


@dataclass(frozen=True)
class Cost:
    """Of a step of one micro-batch on one rank, whose encoders run once: pass 2 keeps pass 1's graph of it.

    Attributes:
        peak_bytes: the most that is alive at once, parameters and optimizer included.
        kept_bytes: what pass 1 leaves behind for pass 2, embeddings or whole graphs.
        phases: by the calls of the model: ``embed`` (pass 1) and ``train`` come once a micro-batch,
            ``global`` (the loss over the global batch) once a step.
    """

    peak_bytes: int
    kept_bytes: int
    phases: Mapping[str, Phase]


@dataclass(frozen=True)
class Rehearsal:
    """A sharded model without contents, on one of many imagined ranks.

    Attributes:
        parameters: of each part, over all ranks.
        state_bytes: shards of parameters and gradients, and the optimizer's state, on this rank.
        gathered: part -> bytes of its weights when they are gathered; "root": of those that no unit claims,
            which are gathered whenever the model runs.
    """

    config: Config
    parts: Parts
    world: World
    model: SpectraNet
    meter: Meter
    fake: FakeTensorMode
    parameters: Mapping[str, int]
    state_bytes: int
    gathered: Mapping[str, int]

    def cost(self, source: str, micro_batch: int, count: int = 1) -> Cost:
        """Of a micro-batch of ``source`` in which every sample is as large as its options allow.

        Args:
            count: of a step of so many of them.

        Raises:
            PlanError: an objective or a modality does what cannot be followed without contents.
        """
        with _disable_current_modes():
            batch = largest_batch(self.config, self.parts.modalities, source, micro_batch)
        try:
            batches = [imagined_batch(batch, self.fake)] * count
            return step_cost(self.config, self.model, self.world, batches, self.meter)
        except _UNANSWERABLE as error:
            raise PlanError(
                f"source '{source}' cannot be planned: its modalities or objectives ask what a tensor "
                f"holds, and there is nothing in it yet ({error})"
            ) from error


def step_cost(
    config: Config, model: SpectraNet, world: World, batches: Sequence[Batch], meter: Meter
) -> Cost:
    """What a step's gradient costs by an entered ``meter``, on real or imagined tensors."""
    passes = ObjectivePass(model, world, coefficients(config), config.train.keep_encoded, config.train.gather)
    data = [one.data.values() for batch in batches for one in batch.modalities.values()]
    meter.watch([tensor for tensors in data for tensor in tensors])
    meter.restart()
    meter.peak = meter.alive
    phases = _Phases(meter)
    hook = model.register_forward_pre_hook(phases.turn, prepend=True)
    try:
        passes(batches)
    finally:
        hook.remove()
    phases.turn(model, ("",))
    kept = max(0, phases.alive_at.get("global", 0) - phases.alive_at.get("embed", 0))
    return Cost(meter.peak, kept, phases.found)


class _Phases:
    """Splits what a meter counts by the calls of the model's root."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.name = "count"
        self.found: dict[str, Phase] = {}
        self.alive_at: dict[str, int] = {}

    def turn(self, model: nn.Module, args: tuple[str, ...]) -> None:
        meter, before = self.meter, self.found.get(self.name, Phase())
        self.found[self.name] = before.plus(Phase(meter.operations, meter.flops, dict(meter.collectives)))
        meter.restart()
        self.name = args[0]
        self.alive_at.setdefault(self.name, meter.alive)


@contextmanager
def rehearse(config: Config, parts: Parts, ranks: int) -> Iterator[Rehearsal]:
    """The model of ``config`` on the first of ``ranks``, ready for any number of :meth:`Rehearsal.cost`.

    It is sharded on the meta device and imagined afterwards: imagined parameters would be cut into as
    many imagined chunks as there are ranks, one by one. Nothing is compiled.
    """
    config = replace(config, train=replace(config.train, compile=False))
    model = build_model(config, parts)
    parameters = count_parameters(model)
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with _imagined_world(ranks, config.train.shard_ranks) as world:
        sharder = make_sharder(config.train, world, parts.shard_units())
        for part in _parts_of(model):
            sharder(part)
        shard_root(model, config.train, world)
        with fake, Meter(Answers(fake)) as meter, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.to_empty(device=world.device)
            meter.watch([*model.parameters(), *model.buffers()])
            optimizer = build_optimizer(model, config.train.optimizer)
            fill_gradients(model.parameters())  # as in every micro-batch but a step's first
            yield Rehearsal(
                config, parts, world, model, meter, fake, parameters, meter.alive, _gathered(config, model)
            )
            del optimizer


def _gathered(config: Config, model: SpectraNet) -> dict[str, int]:
    """See :class:`Rehearsal`."""
    size = 2 if config.train.precision == "bf16" else 4
    units = [module for module in model.modules() if isinstance(module, FSDPModule) and module is not model]
    claimed = {p for unit in units for p in unit.parameters()}
    found = {name: size * count for name, count in count_parameters(model).items()}
    return found | {"root": size * sum(p.numel() for p in model.parameters() if p not in claimed)}


def _parts_of(model: SpectraNet) -> list[nn.Module]:
    """The parts that training initialises and shards one by one."""
    named = (*model.trunks.values(), *model.encoders.values(), *model.objectives.values())
    return [*named, model.memory, *model.decoder.blocks]


@contextmanager
def _imagined_world(ranks: int, shard_ranks: int | None = None) -> Iterator[World]:
    """A process group of ``ranks`` in which nobody else is.

    Raises:
        ConfigError: see :func:`spectranet.train.parallel.mesh.check_shard_ranks`.
        PlanError: this process has a process group already.
    """
    if dist.is_initialized():
        raise PlanError("this process is a rank of a run already; plan in a process of its own")
    check_shard_ranks(ranks, shard_ranks)
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=ranks)
    try:
        yield World(0, ranks, torch.device("cpu"), rank_mesh("cpu", ranks, shard_ranks))
    finally:
        dist.destroy_process_group()
