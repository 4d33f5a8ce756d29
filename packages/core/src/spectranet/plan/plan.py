"""Does a run fit, what does it cost, and which settings are the best?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from spectranet.config import Config, Resolved
from spectranet.errors import ConfigError
from spectranet.model.build import Parts, select_parts
from spectranet.plan.aside import side_by_side
from spectranet.plan.estimate import Assumed, Estimate, estimate
from spectranet.plan.gpus import Gpu, gpu_hours
from spectranet.plan.growth import Growth, measure_growth
from spectranet.plan.settings import Setting, StepMix, checkpointing_choices, micro_batches_to_try, step_mix
from spectranet.plan.simulate import rehearse

__all__ = ["Plan", "make_plan"]


@dataclass(frozen=True)
class Plan:
    """What is known of a run before it is paid for.

    Attributes:
        parameters: of each part.
        state_bytes: on each device: shards of parameters and gradients, and the optimizer's state.
        model_flops: of a step, over all devices: forward and backward once, nothing computed twice.
        mixes: what a rank does in a step, by size of the micro-batch.
        estimates: of all settings tried.
        best: the fastest that fits, if any does.
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
    begin(f"rehearsing micro-batches of {len(sizes)} sources, checkpointing {', '.join(choices)}")
    rehearsals = side_by_side([partial(_rehearsed, config, parts, gpus, each, sizes) for each in choices])
    grown = dict(zip(choices, rehearsals, strict=True))
    state = grown["none"]
    total = sum(state.parameters.values())
    estimates = [
        estimate(config, Setting(size, choice), mix, each.growth, gpu, gpus, total, assumed)
        for choice, each in grown.items()
        for size, mix in mixes.items()
    ]
    fitting = [one for one in estimates if one.needs() <= gpu.memory_bytes]
    best = min(fitting, key=lambda one: (one.step_s, one.peak_bytes), default=None)
    return Plan(
        config=config,
        gpu=gpu,
        gpus=gpus,
        assumed=assumed,
        parameters=state.parameters,
        state_bytes=state.state_bytes,
        model_flops=gpus * _model_flops(config, mixes[min(mixes)], state.growth),
        mixes=mixes,
        estimates=tuple(estimates),
        best=best,
    )


@dataclass(frozen=True)
class _Rehearsed:
    """What is wanted of a :class:`Rehearsal` when it is over."""

    parameters: Mapping[str, int]
    state_bytes: int
    growth: Mapping[str, Growth]


def _rehearsed(
    config: Config, parts: Parts, gpus: int, checkpointing: str, sizes: Mapping[str, Iterable[int]]
) -> _Rehearsed:
    with rehearse(Setting(1, checkpointing).apply(config), parts, gpus) as rehearsal:
        growth = measure_growth(rehearsal, {source: sorted(each) for source, each in sizes.items()})
        return _Rehearsed(dict(rehearsal.parameters), rehearsal.state_bytes, growth)


def _model_flops(config: Config, mix: StepMix, growth: Mapping[str, Growth]) -> int:
    """A rank's forward and backward of a step, without a pass 1 that pass 2 repeats."""
    phases = ("embed", "train") if config.train.keep_encoded else ("train",)
    total = 0.0
    for (source, size), count in mix.items():
        found = growth[source].at(size).phases
        total += count * sum(found[name].flops for name in phases if name in found)
    return round(total)
