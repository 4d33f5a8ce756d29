"""How are sizes, lengths and counts distributed over the samples that were looked at?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from spectranet.report.numbers import count, short
from spectranet.survey.looking import Looked, Looks

__all__ = ["Distribution", "Duplicates", "Figures", "Share", "figures_of"]

_UNITS = {"px": "px", "s": "s", "db": "dB", "hz": "Hz"}


@dataclass(frozen=True)
class Distribution:
    """One figure over the samples that have it.

    Attributes:
        modality: whose figure it is.
        title: ``width``, ``duration``.
        unit: ``px``, ``s``, ``B`` (shown as kB and MB), or empty.
        values: float64, ascending.
    """

    modality: str
    title: str
    unit: str
    values: np.ndarray

    @property
    def is_constant(self) -> bool:
        return bool(self.values[0] == self.values[-1])

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    def quantile(self, share: float) -> float:
        """A value that occurs, so that whole numbers stay whole."""
        return float(self.values[round(share * (len(self.values) - 1))])

    def show(self, value: float) -> str:
        """``1.2 kB``, ``320 px``, ``1.25 s``, ``36``."""
        if self.unit == "B":
            return in_bytes(value)
        text = count(value) if value == int(value) and abs(value) < 1e5 else short(value)
        return f"{text} {self.unit}".rstrip()


@dataclass(frozen=True)
class Share:
    """How many samples something holds of: ``cut``, ``enlarged``."""

    modality: str
    title: str
    number: int
    of: int


@dataclass(frozen=True)
class Duplicates:
    """How many of the sample have the same bytes as an earlier one."""

    modality: str
    number: int
    of: int
    most: int
    """How often the commonest bytes occur."""


@dataclass(frozen=True)
class Figures:
    """Everything that was measured of one source."""

    distributions: tuple[Distribution, ...]
    shares: tuple[Share, ...]
    duplicates: tuple[Duplicates, ...]

    def mean_tokens(self) -> dict[str, float]:
        """Mean number of tokens of a sample after the transform, by modality."""
        return {each.modality: each.mean for each in self.distributions if each.title == "tokens"}

    def mean_bytes(self) -> float:
        """Mean size of a sample: the undecoded bytes of all its modalities."""
        return sum(each.mean for each in self.distributions if each.title == "size")


def figures_of(looks: Looks, modalities: Sequence[str]) -> Figures:
    """Distributions in the order bytes, what the modality says, tokens; for each modality in turn."""
    distributions: list[Distribution] = []
    shares: list[Share] = []
    duplicates: list[Duplicates] = []
    for name in modalities:
        if not looks.usable:
            break
        distributions.append(_distribution(looks.usable, name, "size", "B", lambda s, n=name: s.bytes[n]))
        for fact in dict.fromkeys(fact for each in looks.usable for fact in each.facts[name]):
            having = [each for each in looks.usable if math.isfinite(each.facts[name].get(fact, math.nan))]
            if fact.endswith("_share"):
                held = sum(each.facts[name][fact] > 0 for each in having)
                shares.append(Share(name, fact.removesuffix("_share").replace("_", " "), held, len(having)))
            elif having:
                get = _getter(name, fact)
                distributions.append(_distribution(having, name, *_title_and_unit(fact), get))
        distributions.append(_distribution(looks.usable, name, "tokens", "", lambda s, n=name: s.tokens[n]))
        duplicates.append(_duplicates(looks.usable, name))
    return Figures(tuple(distributions), tuple(shares), tuple(duplicates))


def in_bytes(size: float) -> str:
    """``512 B``, ``1.2 kB``, ``340 MB``; thousands, as disks are sold."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit * 0.9995:
            return f"{float(f'{size / unit:.3g}'):g} {name}"
    return f"{size:.0f} B"


def _distribution(
    samples: Sequence[Looked], modality: str, title: str, unit: str, value: Callable[[Looked], float]
) -> Distribution:
    values = np.sort(np.array([value(each) for each in samples], dtype=np.float64))
    return Distribution(modality, title, unit, values)


def _getter(modality: str, fact: str) -> Callable[[Looked], float]:
    return lambda sample: sample.facts[modality][fact]


def _title_and_unit(fact: str) -> tuple[str, str]:
    """``duration_s`` to ("duration", "s"); ``frames_per_s`` is a rate and has its unit in its name."""
    title, _, unit = fact.rpartition("_")
    if unit not in _UNITS or title.endswith("_per"):
        return fact.replace("_", " "), ""
    return title.replace("_", " "), _UNITS[unit]


def _duplicates(samples: Sequence[Looked], modality: str) -> Duplicates:
    times = Counter(each.content[modality] for each in samples)
    return Duplicates(modality, len(samples) - len(times), len(samples), max(times.values()))
