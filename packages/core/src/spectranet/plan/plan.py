"""Does a run fit, what does it cost, and which settings are the best?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from spectranet.config import Config, Resolved
from spectranet.errors import ConfigError
from spectranet.model.build import Parts, select_parts
from spectranet.plan.aside import side_by_side
from spectranet.plan.estimate import Assumed, Estimate, Weights, estimate
from spectranet.plan.gpus import Gpu, gpu_hours
from spectranet.plan.growth import Growth, Measured, grow, measure
from spectranet.plan.settings import (
    Setting,
    StepMix,
    arrangements_to_try,
    checkpointing_choices,
    micro_batches_to_try,
    step_mix,
)
from spectranet.plan.simulate import rehearse

__all__ = ["Plan", "best_of", "confirm", "make_plan"]

_LEANEST = "full"
"""The checkpointing that keeps least."""


@dataclass(frozen=True)
class Plan:
    """What is known of a run before it is paid for.

    Attributes:
        parameters: of each part.
        state_bytes: on each device: shards of parameters and gradients, and the optimizer's state.
        model_flops: of a step, over all devices: forward and backward once, nothing computed twice.
        mixes: what a rank does in a step, by size of the micro-batch.
        estimates: of all settings tried.
        best: of those that fit and are the fastest, or at most 2 % slower, the one that is configured, or
            else the one that needs least memory.
        configured: the setting that the configuration asks for.
    """

    config: Config
    gpu: Gpu
    gpus: int
    assumed: Assumed
    parameters: Mapping[str, int]
    state_bytes: int
    model_flops: int
    mixes: Mapping[int, StepMix]
    estimates: tuple[Estimate, ...]
    best: Estimate | None
    configured: Setting | None = None

    @property
    def run_s(self) -> float:
        """All steps of the run by the best setting."""
        return 0.0 if self.best is None else self.best.step_s * self.config.train.steps

    @property
    def gpu_hours(self) -> float:
        return gpu_hours(self.gpus, self.run_s)

    def fits(self, one: Estimate) -> bool:
        return one.needs() <= self.gpu.memory_bytes

    def mfu(self, one: Estimate) -> float:
        """Model FLOPs utilisation: nothing that is computed twice counts."""
        return self.model_flops / (one.step_s * self.gpu.flops(self.config.train.precision) * self.gpus)


def make_plan(
    resolved: Resolved,
    gpu: Gpu,
    gpus: int,
    assumed: Assumed,
    begin: Callable[[str], None] = lambda line: None,
) -> Plan:
    """Rehearse a few micro-batches and work out the rest.

    Args:
        begin: told what is being worked on.

    Raises:
        ConfigError: sizes that do not divide, no source, no objective.
        PlanError: a modality or an objective cannot be followed without contents.
    """
    if gpus < 1:
        raise ConfigError(f"--gpus {gpus}: a run needs one at least.")
    config = resolved.config
    parts = select_parts(config, resolved.host.modalities, resolved.host.objectives)
    mixes = {size: step_mix(config, gpus, size) for size in micro_batches_to_try(config, gpus)}
    sizes: dict[str, set[int]] = {}
    for source, size in (kind for mix in mixes.values() for kind in mix):
        sizes.setdefault(source, set()).add(size)
    choices = checkpointing_choices()
    sources = f"{len(sizes)} source{'s' if len(sizes) > 1 else ''}"
    begin(f"rehearsing micro-batches of {sources}, checkpointing {', '.join(choices)}")
    # The one that takes longest comes first.
    order = sorted(choices, key=lambda choice: choice != _LEANEST)
    tasks = [partial(_rehearsed, config, parts, gpus, choice, sizes) for choice in order]
    found = dict(zip(order, side_by_side(tasks), strict=True))
    lean = found[_LEANEST]
    grown = {choice: grow(found[choice].measured, lean.measured) for choice in choices}
    always = lean.gathered["root"]
    weights = Weights(sum(lean.parameters.values()), sum(lean.gathered.values()) - always, always)
    estimates = [
        estimate(config, Setting(size, choice, *arranged), mix, grown[choice], gpu, gpus, weights, assumed)
        for choice in choices
        for size, mix in mixes.items()
        for arranged in arrangements_to_try(gpus)
    ]
    configured = _configured(config, gpus)
    plan = Plan(
        config=config,
        gpu=gpu,
        gpus=gpus,
        assumed=assumed,
        parameters=lean.parameters,
        state_bytes=lean.state_bytes,
        model_flops=gpus * _model_flops(mixes[min(mixes)], grown["none"]),
        mixes=mixes,
        estimates=tuple(estimates),
        best=best_of(estimates, gpu, configured),
        configured=configured,
    )
    while plan.best is not None and not plan.best.rehearsed:
        begin(f"rehearsing the best of {len(estimates)} settings")
        plan = confirm(plan, parts)
    return plan


def best_of(estimates: Iterable[Estimate], gpu: Gpu, configured: Setting | None = None) -> Estimate | None:
    """See :class:`Plan`."""
    fitting = [one for one in estimates if one.needs() <= gpu.memory_bytes]
    fastest = min((one.step_s for one in fitting), default=0.0)
    near = [one for one in fitting if one.step_s <= 1.02 * fastest]
    return min(near, key=lambda one: (one.setting != configured, one.peak_bytes), default=None)


def confirm(plan: Plan, parts: Parts) -> Plan:
    """The plan with the peak of its best setting rehearsed; if that does not fit, another is the best."""
    best = plan.best
    assert best is not None
    mix = plan.mixes[best.setting.micro_batch]
    size = max(size for source, size in mix if source == best.source)
    count = min(2, math.ceil(sum(mix.values())))
    task = partial(_peak, best.setting.apply(plan.config), parts, plan.gpus, best.source, size, count)
    peak = side_by_side([task])[0]
    if plan.config.train.keep_encoded:  # graphs of further micro-batches, which this rehearsal has not
        peak = max(peak, best.peak_bytes)
    sure = replace(best, peak_bytes=peak, rehearsed=True)
    estimates = tuple(sure if one is best else one for one in plan.estimates)
    fits = sure.needs() <= plan.gpu.memory_bytes
    return replace(
        plan, estimates=estimates, best=sure if fits else best_of(estimates, plan.gpu, plan.configured)
    )


def _configured(config: Config, gpus: int) -> Setting:
    """One micro-batch is a rank's share of a slot where nothing else is said."""
    share = config.train.global_batch // config.train.slots // gpus
    return Setting.of(config, config.train.micro_batch or share, gpus)


@dataclass(frozen=True)
class _Rehearsed:
    """What is wanted of a :class:`Rehearsal` when it is over."""

    parameters: Mapping[str, int]
    state_bytes: int
    gathered: Mapping[str, int]
    measured: Measured


def _rehearsed(
    config: Config, parts: Parts, gpus: int, checkpointing: str, sizes: Mapping[str, Iterable[int]]
) -> _Rehearsed:
    with rehearse(Setting(1, checkpointing).apply(config), parts, gpus) as rehearsal:
        sorted_sizes = {source: sorted(each) for source, each in sizes.items()}
        measured = measure(rehearsal, sorted_sizes, both_ends=checkpointing == _LEANEST)
        return _Rehearsed(dict(rehearsal.parameters), rehearsal.state_bytes, rehearsal.gathered, measured)


def _peak(config: Config, parts: Parts, gpus: int, source: str, size: int, count: int) -> int:
    """Of a step of two micro-batches, if it has as many: weights that are kept are let go in the last one."""
    with rehearse(config, parts, gpus) as rehearsal:
        peak = rehearsal.cost(source, size, count).peak_bytes
        if config.train.gather == "keep":  # other sources' towers are there too
            peak += sum(
                size
                for part, size in rehearsal.gathered.items()
                if part in _towers_without(config, parts, source)
            )
        return peak


def _towers_without(config: Config, parts: Parts, source: str) -> set[str]:
    """Names, among those of parameters, of the encoders and trunks that ``source`` does not run through."""
    own = set(config.data.sources[source].modalities)
    trunks = {name: modality.trunk.name for name, modality in parts.modalities.items() if modality.trunk}
    used = {trunks[name] for name in own if name in trunks}
    encoders = {f"encoder {name}" for name in parts.modalities if name not in own}
    return encoders | {f"trunk {name}" for name in trunks.values() if name not in used}


def _model_flops(mix: StepMix, growth: Mapping[str, Growth]) -> int:
    """A rank's forward and backward of a step, encoders once."""
    total = 0.0
    for (source, size), count in mix.items():
        found = growth[source].at(size).phases
        total += count * sum(found[name].flops for name in ("embed", "train") if name in found)
    return round(total)
