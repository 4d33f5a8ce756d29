"""Which settings are worth trying, and what does a rank do in a step under each?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from spectranet.config import Config
from spectranet.config.checks import CHOICES
from spectranet.config.sizes import fits
from spectranet.data.mixing import Mixture
from spectranet.data.schedule import Schedule

__all__ = [
    "Setting",
    "StepMix",
    "arrangements_to_try",
    "checkpointing_choices",
    "micro_batches_to_try",
    "step_mix",
]

_STEPS = 20
"""Over so many steps the mixture of sources comes round."""

StepMix = Mapping[tuple[str, int], float]
"""(source, samples) -> micro-batches of that kind in a rank's step, on average."""


@dataclass(frozen=True)
class Setting:
    """What decides about memory and speed, and not about the result."""

    micro_batch: int
    activation_checkpointing: str = "none"
    gather: str = "reshard"
    shard_ranks: int | None = None

    def overrides(self) -> str:
        """As the command line takes it."""
        named = {name: "null" if value is None else value for name, value in asdict(self).items()}
        return " ".join(f"train.{name}={value}" for name, value in named.items())

    def apply(self, config: Config) -> Config:
        return replace(config, train=replace(config.train, **asdict(self)))

    @staticmethod
    def of(config: Config, micro_batch: int, ranks: int) -> Setting:
        """What ``config`` says, in the words of :func:`arrangements_to_try`."""
        train = config.train
        gather, shard = train.gather, train.shard_ranks
        whole = (shard or ranks) == 1
        return Setting(
            micro_batch,
            train.activation_checkpointing,
            "reshard" if whole else gather,
            None if shard == ranks else shard,
        )


def arrangements_to_try(ranks: int) -> list[tuple[str, int | None]]:
    """(gather, shard_ranks): every number of ranks to a copy of the model, weights let go or kept.

    Where each rank holds a whole copy there is nothing to gather.
    """
    shards = [shard for shard in range(1, ranks) if ranks % shard == 0]
    sizes: list[int | None] = [*shards, None]
    return [
        (gather, shard)
        for shard in sizes
        for gather in CHOICES["train.gather"]
        if gather == "reshard" or (shard or ranks) > 1
    ]


def checkpointing_choices() -> tuple[str, ...]:
    return tuple(CHOICES["train.activation_checkpointing"])


def micro_batches_to_try(config: Config, ranks: int) -> list[int]:
    """Sizes about a factor of two apart, from one sample to all that a source has in a step.

    Raises:
        ConfigError: the global batch, its slots and the ranks do not divide.
    """
    share = _schedule(config, ranks, None).share
    most = max(size for _, size in step_mix(config, ranks, config.train.global_batch // ranks))
    sizes = [size for size in range(1, most + 1) if fits(size, share)]
    tried: list[int] = []
    for size in sizes:
        if not tried or size >= 2 * tried[-1] or size == sizes[-1]:
            tried.append(size)
    configured = config.train.micro_batch
    return sorted({*tried, configured} if configured else tried)


def step_mix(config: Config, ranks: int, micro_batch: int) -> StepMix:
    """What the schedule of a run deals to a rank, by the code that deals it."""
    schedule, names = _schedule(config, ranks, micro_batch), _sources(config)
    dealt: Counter[tuple[str, int]] = Counter()
    for step in range(_STEPS):
        for address in schedule.micro_batches(step, rank=0):
            dealt[names[address.source], len(address.ids)] += 1
    return {kind: count / _STEPS for kind, count in dealt.items()}


def _schedule(config: Config, ranks: int, micro_batch: int | None) -> Schedule:
    train, sources = config.train, config.data.sources
    return Schedule(
        Mixture.of([sources[name].weight for name in _sources(config)]),
        global_batch=train.global_batch,
        slots=train.slots,
        ranks=ranks,
        micro_batch=micro_batch,
    )


def _sources(config: Config) -> list[str]:
    return [name for name, source in config.data.sources.items() if source.weight > 0]
