"""Which sizes of batches fit each other? For messages that offer a value that works."""

from __future__ import annotations

__all__ = ["fits", "fitting_global_batch", "fitting_micro_batch"]


def fitting_global_batch(wanted: int, slots: int, ranks: int = 1, micro_batch: int | None = None) -> int:
    """The size nearest to ``wanted`` that slots, ranks and micro-batches divide; of two, the smaller."""
    unit, micro = slots * ranks, micro_batch or 1
    whole = max(1, wanted // (unit * micro))
    shares = [whole * micro, (whole + 1) * micro]
    shares += [share for share in range(1, micro) if micro % share == 0]
    return min((share * unit for share in shares), key=lambda size: (abs(size - wanted), size))


def fitting_micro_batch(wanted: int, share: int) -> int:
    """The size nearest to ``wanted`` that divides ``share`` or is a multiple of it; of two, the smaller."""
    below = wanted // share * share
    sizes: list[int] = [*range(1, share + 1), below, below + share]
    sizes = [size for size in sizes if size and fits(size, share)]
    return min(sizes, key=lambda size: (abs(size - wanted), size))


def fits(micro_batch: int | None, share: int) -> bool:
    """Whether a rank's share of a slot is cut into micro-batches without a rest, or the other way round."""
    return micro_batch is None or share % micro_batch == 0 or micro_batch % share == 0
