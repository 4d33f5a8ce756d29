"""What does a setting need on a device: memory, traffic, time?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce

from spectranet.config import Config
from spectranet.plan.gpus import Gpu
from spectranet.plan.growth import Growth
from spectranet.plan.settings import Setting, StepMix
from spectranet.plan.simulate import Cost, Phase
from spectranet.train.parallel.accumulation import FILLS_WITH_ZEROS

__all__ = ["MARGIN", "STATE_BYTES", "Assumed", "Estimate", "Weights", "estimate"]

MARGIN = 0.25
"""What is added to a predicted peak before it is compared with a device: the allocator's gaps, libraries'
workspaces, buffers in flight."""

STATE_BYTES = 16
"""Of each parameter, in fp32: itself, its gradient, two moments."""

_REDUCED_BYTES = 4
"""Gradients are reduced in fp32."""

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
        rehearsed: whether the peak is that of a rehearsal of this very setting.
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
    rehearsed: bool = False

    def needs(self) -> float:
        """Bytes with the margin."""
        return self.peak_bytes * (1 + MARGIN)


@dataclass(frozen=True)
class Weights:
    """What a setting does with the weights.

    Attributes:
        count: of parameters.
        gathered_bytes: of all of them when they are gathered.
        always_bytes: of those among them that are gathered whenever the model runs.
    """

    count: int
    gathered_bytes: int
    always_bytes: int


def estimate(
    config: Config,
    setting: Setting,
    mix: StepMix,
    growth: Mapping[str, Growth],
    gpu: Gpu,
    gpus: int,
    weights: Weights,
    assumed: Assumed,
) -> Estimate:
    """Put the costs of a step's micro-batches together.

    Args:
        growth: rehearsed on one copy of the model, sharded over all ranks, its weights let go after each use.
    """
    costs = {kind: growth[kind[0]].at(kind[1]) for kind in mix}
    pieces = [(1.0, _once_a_step(costs)), (1.0, _by_setting(setting, weights, gpus, mix))]
    pieces += [(count, _micro_batch(costs[kind], config, setting)) for kind, count in mix.items()]
    if not config.train.keep_encoded:  # pass 2 has the graph of its first micro-batch from pass 1
        pieces += [(-1.0, _first_forward(costs, mix, config, setting))]
    traffic: Counter[str] = Counter()
    compute_s = link_s = step_s = flops = 0.0
    for count, piece in pieces:
        computing = piece.flops / (gpu.flops(config.train.precision) * assumed.efficiency)
        received = _received(piece, setting, gpus)
        sending = _sending(received, setting, gpu, gpus) / assumed.link_efficiency
        compute_s, link_s = compute_s + count * computing, link_s + count * sending
        step_s += count * max(computing, sending, piece.operations * assumed.operation_s)
        flops += count * piece.flops
        for name, size in received.items():
            traffic[name] += round(count * size)
    worst = max(costs, key=lambda kind: costs[kind].peak_bytes)
    waiting = 0.0
    if config.train.keep_encoded:  # the graphs of all other micro-batches wait for their turn
        waiting = sum(count * costs[kind].kept_bytes for kind, count in mix.items()) - costs[worst].kept_bytes
    shard = setting.shard_ranks or gpus
    peak = costs[worst].peak_bytes + STATE_BYTES * weights.count * (1 / shard - 1 / gpus)
    peak += weights.gathered_bytes - weights.always_bytes if setting.gather == "keep" else 0
    return Estimate(
        setting=setting,
        peak_bytes=round(peak + max(0.0, waiting)),
        source=worst[0],
        flops=round(flops),
        traffic=traffic,
        compute_s=compute_s,
        link_s=link_s,
        step_s=step_s + _ADAMW_BYTES * weights.count / shard / gpu.memory_bandwidth,
    )


def _by_setting(setting: Setting, weights: Weights, gpus: int, mix: StepMix) -> Phase:
    """What the setting itself sends, once a step."""
    sent: dict[str, int] = {}
    if setting.gather == "keep":
        sent["all-gather"] = weights.gathered_bytes
    shard = setting.shard_ranks or gpus
    if shard < gpus:
        times = 1 if FILLS_WITH_ZEROS else sum(mix.values())
        sent["all-reduce of copies"] = round(times * _REDUCED_BYTES * weights.count / shard)
    return Phase(collectives=sent)


def _micro_batch(cost: Cost, config: Config, setting: Setting) -> Phase:
    """Both passes. Pass 2 runs the encoders again, unless all graphs of pass 1 are kept."""
    names = ("embed", "train") if config.train.keep_encoded else ("embed", "embed", "train")
    return _as_set(_together(cost, *names), setting)


def _first_forward(
    costs: Mapping[tuple[str, int], Cost], mix: StepMix, config: Config, setting: Setting
) -> Phase:
    """An encoders' forward of the average micro-batch."""
    total, found = sum(mix.values()), Phase()
    for kind, count in mix.items():
        found = found.plus(_as_set(_together(costs[kind], "embed"), setting), count / total)
    return found


def _as_set(phase: Phase, setting: Setting) -> Phase:
    if setting.gather != "keep":
        return phase
    return replace(phase, collectives={n: b for n, b in phase.collectives.items() if n != "all-gather"})


def _once_a_step(costs: Mapping[tuple[str, int], Cost]) -> Phase:
    """The phases that a step has once; from the rehearsal that moved most in them."""
    each = [_together(cost, "count", "global") for cost in costs.values()]
    return max(each, key=lambda phase: sum(phase.collectives.values()))


def _together(cost: Cost, *names: str) -> Phase:
    return reduce(Phase.plus, (cost.phases[name] for name in names if name in cost.phases), Phase())


def _received(phase: Phase, setting: Setting, gpus: int) -> dict[str, float]:
    """Collective -> bytes that a rank receives, or sends, of the whole tensors."""
    shard = setting.shard_ranks or gpus
    groups = {"all-gather": shard, "reduce-scatter": shard, "all-reduce of copies": gpus // shard}
    found = {}
    for name, size in phase.collectives.items():
        ranks = groups.get(name, gpus)
        rounds = 2 if name.startswith("all-reduce") else 1  # a reduction and a gathering
        found[name] = rounds * size * (ranks - 1) / ranks
    return found


def _sending(received: Mapping[str, float], setting: Setting, gpu: Gpu, gpus: int) -> float:
    """Seconds at the links, at their full bandwidth."""
    shard = setting.shard_ranks or gpus
    inside = gpus <= gpu.node or gpu.node % shard == 0
    links = {name: gpu.link(shard if inside else gpus) for name in ("all-gather", "reduce-scatter")}
    links["all-reduce of copies"] = gpu.link_between_copies(gpus, shard)
    return sum(size / links.get(name, gpu.link(gpus)) for name, size in received.items())
