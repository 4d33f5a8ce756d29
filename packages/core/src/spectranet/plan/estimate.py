"""What does a setting need on a device: memory, traffic, time?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from spectranet.config import Config
from spectranet.plan.gpus import Gpu
from spectranet.plan.growth import Growth
from spectranet.plan.settings import Setting, StepMix
from spectranet.plan.simulate import Cost, Phase

__all__ = ["MARGIN", "Assumed", "Estimate", "estimate"]

MARGIN = 0.25
"""What is added to a predicted peak before it is compared with a device: the allocator's gaps, libraries'
workspaces, buffers in flight."""

_ADAMW_BYTES = 28
"""Moved for each element: parameter, gradient and two moments are read, all but the gradient written."""


@dataclass(frozen=True)
class Assumed:
    """What no rehearsal can tell.

    Attributes:
        efficiency: share of the peak FLOPs that a device reaches while it waits for nobody.
        link_efficiency: share of a link's bandwidth that collectives reach.
        operation_s: Python and torch take this to start an operation, which small ones wait for.
    """

    efficiency: float = 0.45
    link_efficiency: float = 0.8
    operation_s: float = 5e-6


@dataclass(frozen=True)
class Estimate:
    """Of one setting, for one rank where nothing else is said.

    Attributes:
        peak_bytes: without the margin.
        source: whose micro-batch has that peak.
        flops: of a step, recomputation included.
        traffic: collective -> bytes that a rank receives in a step.
        compute_s, link_s: of a step, if the other took no time.
        step_s: with links at work while the device computes.
    """

    setting: Setting
    peak_bytes: int
    source: str
    flops: int
    traffic: Mapping[str, int]
    compute_s: float
    link_s: float
    step_s: float

    def needs(self) -> float:
        """Bytes with the margin."""
        return self.peak_bytes * (1 + MARGIN)


def estimate(
    config: Config,
    setting: Setting,
    mix: StepMix,
    growth: Mapping[str, Growth],
    gpu: Gpu,
    gpus: int,
    parameters: int,
    assumed: Assumed,
) -> Estimate:
    """Put the costs of a step's micro-batches together."""
    costs = {kind: growth[kind[0]].at(kind[1]) for kind in mix}
    pieces = [(1.0, _once_a_step(costs))]
    pieces += [(count, _together(costs[kind], "embed", "train")) for kind, count in mix.items()]
    traffic: Counter[str] = Counter()
    compute_s = link_s = step_s = flops = 0.0
    for count, piece in pieces:
        computing, sending = _seconds(piece, config, gpu, gpus, assumed)
        compute_s, link_s = compute_s + count * computing, link_s + count * sending
        step_s += count * max(computing, sending, piece.operations * assumed.operation_s)
        flops += count * piece.flops
        for name, size in piece.collectives.items():
            traffic[name] += round(count * size * (gpus - 1) / gpus)
    worst = max(costs, key=lambda kind: costs[kind].peak_bytes)
    waiting = 0.0
    if config.train.keep_encoded:  # the graphs of all other micro-batches wait for their turn
        waiting = sum(count * costs[kind].kept_bytes for kind, count in mix.items()) - costs[worst].kept_bytes
    return Estimate(
        setting=setting,
        peak_bytes=costs[worst].peak_bytes + round(max(0.0, waiting)),
        source=worst[0],
        flops=round(flops),
        traffic=traffic,
        compute_s=compute_s,
        link_s=link_s,
        step_s=step_s + _ADAMW_BYTES * parameters / gpus / gpu.memory_bandwidth,
    )


def _once_a_step(costs: Mapping[tuple[str, int], Cost]) -> Phase:
    """The phases that a step has once; from the rehearsal that moved most in them."""
    each = [_together(cost, "count", "global") for cost in costs.values()]
    return max(each, key=lambda phase: sum(phase.collectives.values()))


def _together(cost: Cost, *names: str) -> Phase:
    phases = [cost.phases[name] for name in names if name in cost.phases]
    collectives: Counter[str] = Counter()
    for phase in phases:
        collectives.update(phase.collectives)
    return Phase(sum(p.operations for p in phases), sum(p.flops for p in phases), collectives)


def _seconds(phase: Phase, config: Config, gpu: Gpu, gpus: int, assumed: Assumed) -> tuple[float, float]:
    """(computing, at the links) if neither took place during the other."""
    rounds = {"all-reduce": 2}  # a reduction and a gathering
    moved = sum(rounds.get(name, 1) * size for name, size in phase.collectives.items()) * (gpus - 1) / gpus
    return (
        phase.flops / (gpu.flops(config.train.precision) * assumed.efficiency),
        moved / (gpu.link(gpus) * assumed.link_efficiency),
    )
