"""Which samples does a rank read in a step, and in what order?

A step is ``slots`` slots of ``global_batch / slots`` samples, each of one source. Every rank takes a
contiguous share of every slot. Shares are cut into micro-batches, or, where a micro-batch may be
larger than a share, those of one source in a step are put together; either way all ranks see the
same source at the same micro-step. The number that a sample has in the step (its id) depends on the
slot alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spectranet.config.sizes import fits, fitting_global_batch, fitting_micro_batch
from spectranet.data.mixing import Mixture
from spectranet.errors import ConfigError

__all__ = ["Address", "Schedule"]


@dataclass(frozen=True)
class Address:
    """A micro-batch, named before it is read.

    Attributes:
        source: index of its source.
        ordinals: number of each sample among those of the source, over the whole run.
        ids: identity of each sample within the step's global batch.
    """

    step: int
    source: int
    ordinals: tuple[int, ...]
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Schedule:
    """Addresses of every micro-batch, as a pure function of (step, rank).

    Raises:
        ConfigError: the sizes do not divide; lists every problem, with the numbers.
    """

    mixture: Mixture
    global_batch: int
    slots: int
    ranks: int = 1
    micro_batch: int | None = None

    def __post_init__(self) -> None:
        problems = _problems(self.global_batch, self.slots, self.ranks, self.micro_batch)
        if problems:
            raise ConfigError("\n".join(problems))

    @property
    def slot_size(self) -> int:
        """Samples of a slot, over all ranks."""
        return self.global_batch // self.slots

    @property
    def share(self) -> int:
        """Samples of a slot on one rank."""
        return self.slot_size // self.ranks

    def micro_batches(self, step: int, rank: int) -> list[Address]:
        """What ``rank`` reads in ``step``, in order."""
        shares: dict[int, list[tuple[int, int]]] = {}
        first = rank * self.share
        for slot, (source, ordinal) in enumerate(self.mixture.deal(step * self.slots, self.slots)):
            for offset in range(first, first + self.share):
                start = ordinal * self.slot_size, slot * self.slot_size
                shares.setdefault(source, []).append((start[0] + offset, start[1] + offset))
        size = self.micro_batch or self.share
        return [
            Address(step, source, *zip(*samples[start : start + size], strict=True))
            for source, samples in shares.items()
            for start in range(0, len(samples), size)
        ]

    def check_sizes(self, sizes: Mapping[str, int]) -> None:
        """Refuse sources that cannot fill one slot.

        Raises:
            ConfigError: lists every such source, with the numbers.
        """
        problems = [
            f"source '{name}' has {size} samples, fewer than the {self.slot_size} of one slot "
            f"(train.global_batch {self.global_batch} / train.slots {self.slots}); "
            "add data, lower train.global_batch or raise train.slots"
            for name, size in sizes.items()
            if size < self.slot_size
        ]
        if problems:
            raise ConfigError("\n".join(problems))


def _problems(global_batch: int, slots: int, ranks: int, micro_batch: int | None) -> list[str]:
    numbers = {"train.global_batch": global_batch, "train.slots": slots, "train.micro_batch": micro_batch}
    problems = [
        f"{name} must be at least 1, not {value}"
        for name, value in numbers.items()
        if value is not None and value < 1
    ]
    if problems:
        return problems
    if global_batch % slots:
        works = fitting_global_batch(global_batch, slots, ranks, micro_batch)
        return [
            f"train.slots {slots} does not divide train.global_batch {global_batch}; "
            f"this works:  train.global_batch={works}"
        ]
    slot_size = global_batch // slots
    if slot_size % ranks:
        return [
            f"{ranks} ranks do not divide the {slot_size} samples of a slot "
            f"(train.global_batch {global_batch} / train.slots {slots}); this works:  "
            f"train.global_batch={fitting_global_batch(global_batch, slots, ranks, micro_batch)}"
        ]
    share = slot_size // ranks
    if micro_batch is not None and not fits(micro_batch, share):
        return [
            f"train.micro_batch {micro_batch} is neither a divisor nor a multiple of the {share} samples "
            f"that a rank takes of a slot (train.global_batch {global_batch} / train.slots {slots} / {ranks} "
            f"ranks); this works:  train.micro_batch={fitting_micro_batch(micro_batch, share)}"
        ]
    return []
