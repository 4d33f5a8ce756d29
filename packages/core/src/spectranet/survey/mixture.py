"""What does a run see: how often each source, and how many tokens of each modality?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spectranet.config import Config
from spectranet.data.mixing import Mixture
from spectranet.data.schedule import Schedule
from spectranet.data.source import Source
from spectranet.errors import ConfigError
from spectranet.report.numbers import count, percent, short

__all__ = ["Portion", "Seen", "what_a_run_sees"]

MANY_EPOCHS = 4.0
"""Up to about four epochs, text seen again teaches nearly as much as new text (Muennighoff et al. 2023,
"Scaling Data-Constrained Language Models"). Augmented pictures bear more: a warning, not an error."""


@dataclass(frozen=True)
class Portion:
    """What a run takes from one source.

    Attributes:
        samples: read in the whole run, replacements not counted.
        share: of all samples of the run.
        epochs: ``samples`` over the samples that the source has.
        tokens: mean number of tokens of a sample, by modality; estimated.
    """

    source: str
    size: int
    samples: int
    share: float
    epochs: float
    tokens: Mapping[str, float]


@dataclass(frozen=True)
class Seen:
    """The mixture of a run."""

    steps: int
    global_batch: int
    slots: int
    portions: tuple[Portion, ...]
    warnings: tuple[str, ...]

    @property
    def slot_size(self) -> int:
        return self.global_batch // self.slots

    def tokens_per_step(self) -> dict[str, float]:
        """Mean number of tokens of each modality in a step; estimated from the samples looked at."""
        totals: dict[str, float] = {}
        for each in self.portions:
            for name, tokens in each.tokens.items():
                totals[name] = totals.get(name, 0.0) + each.share * self.global_batch * tokens
        return dict(sorted(totals.items()))


def what_a_run_sees(
    config: Config, sources: Sequence[Source], tokens: Mapping[str, Mapping[str, float]]
) -> Seen:
    """The mixture that ``config`` makes of ``sources``, on any number of ranks.

    Args:
        tokens: source -> modality -> mean number of tokens of a sample.
    """
    train = config.train
    warnings: list[str] = []
    try:
        schedule = Schedule(
            Mixture.of([source.weight for source in sources]),
            global_batch=train.global_batch,
            slots=train.slots,
            micro_batch=train.micro_batch,
        )
        schedule.check_sizes({source.name: len(source) for source in sources})
    except ConfigError as error:
        warnings += str(error).splitlines()
    slot_size = train.global_batch // max(1, train.slots)
    dealt = Mixture.of([source.weight for source in sources]).counts_before(train.steps * train.slots)
    total = max(1, sum(dealt))
    portions = tuple(
        Portion(
            source=source.name,
            size=len(source),
            samples=slots * slot_size,
            share=slots / total,
            epochs=slots * slot_size / len(source),
            tokens=tokens.get(source.name, {}),
        )
        for source, slots in zip(sources, dealt, strict=True)
    )
    warnings += [line for each in portions for line in _warnings(each)]
    return Seen(train.steps, train.global_batch, train.slots, portions, tuple(warnings))


def _warnings(portion: Portion) -> list[str]:
    name = f"source '{portion.source}'"
    if portion.samples == 0:
        return [f"{name}: no slot of the run is its own; raise its weight or train.steps"]
    if portion.epochs > MANY_EPOCHS:
        return [
            f"{name}: each of its {count(portion.size)} samples is seen {short(portion.epochs)} times; "
            "a lower weight, fewer steps or more data would repeat it less"
        ]
    if portion.epochs < 1:
        return [
            f"{name}: the run ends before one epoch of it; {percent(1 - portion.epochs)} of its "
            f"{count(portion.size)} samples are never seen"
        ]
    return []
