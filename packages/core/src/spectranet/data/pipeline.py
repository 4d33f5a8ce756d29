"""From a row to a sample that a model can take: read, decode, transform, mask.

Everything random is drawn from generators seeded with (seed, source, ordinal, modality), so a sample
looks the same whoever prepares it. Suffixes: N tokens, P coordinates of a position.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spectranet.contracts import Modality, Values
from spectranet.data.ahead import Ahead
from spectranet.data.order import Order
from spectranet.data.source import Source
from spectranet.errors import DataError, PluginError

__all__ = ["MAX_ATTEMPTS", "Pipeline", "Sample", "Skipped", "View", "Viewer"]

MAX_ATTEMPTS = 100
"""Rows drawn for one sample, with repetition, before the source is given up."""


@dataclass(frozen=True)
class View:
    """One modality of one sample, and what a pass shows of it."""

    values: Values
    hidden_N: np.ndarray
    """bool (N,): True at tokens that the encoder must not see."""
    content: int
    """Hash of the undecoded bytes, in the range of int64."""


@dataclass(frozen=True)
class Sample:
    key: str
    views: Mapping[str, View]
    """Sorted by name."""


@dataclass(frozen=True)
class Skipped:
    """A sample that could not be used, and why."""

    source: str
    key: str
    reason: str


@dataclass(frozen=True)
class Viewer:
    """Prepares one modality of the samples of one source.

    ``transform`` is shared by the threads of a worker.
    """

    name: str
    decode: Callable[[bytes], Any]
    transform: Callable[[Any, np.random.Generator], Values]
    sample_mask: Callable[[Values, float, np.random.Generator], np.ndarray]
    ratio: float
    """Share of the tokens to hide; 0 hides none."""

    @classmethod
    def of(cls, modality: Modality, config: Any, *, train: bool, ratio: float) -> Viewer:
        transform = modality.build_transform(config, train)
        return cls(modality.name, modality.decode, transform, modality.sample_mask, ratio)

    def view(self, content: bytes, seed: tuple[object, ...]) -> View:
        """Decode, transform and mask the bytes of one sample.

        Raises:
            DecodeError: the bytes cannot be decoded.
            DataError: no token comes out.
        """
        values = self.transform(self.decode(content), _generator(*seed, self.name, "transform"))
        tokens = len(values.position_NP)
        if tokens == 0:
            raise DataError(f"its {self.name} gives no token")
        if len(values.segment_N) != tokens:
            raise PluginError(
                f"modality '{self.name}' gives {tokens} positions and {len(values.segment_N)} segments"
            )
        hidden_N = np.zeros(tokens, dtype=bool)
        if self.ratio > 0:
            hidden_N = self._mask(values, _generator(*seed, self.name, "mask"))
        return View(values, hidden_N, _content_hash(content))

    def _mask(self, values: Values, rng: np.random.Generator) -> np.ndarray:
        hidden_N = np.asarray(self.sample_mask(values, self.ratio, rng))
        if hidden_N.dtype != bool or hidden_N.shape != (len(values.position_NP),):
            raise PluginError(
                f"sample_mask of modality '{self.name}' gave {hidden_N.dtype} {hidden_N.shape}, "
                f"not bool ({len(values.position_NP)},)"
            )
        if hidden_N.all():
            # An encoder needs something to look at.
            hidden_N = hidden_N.copy()
            hidden_N[0] = False
        return hidden_N


@dataclass(frozen=True)
class Pipeline:
    """Prepares the samples of one source."""

    source: Source
    viewers: tuple[Viewer, ...]
    """Sorted by name."""
    order: Order
    ahead: Ahead

    def at(self, ordinal: int) -> tuple[Sample, tuple[Skipped, ...]]:
        """Sample number ``ordinal`` of a run, and those that were tried for it and could not be used.

        What stands in for a bad sample is a pure function of the ordinal as well.

        Raises:
            DataError: none of ``MAX_ATTEMPTS`` rows could be used.
        """
        self.ahead.reach(ordinal)
        skipped: list[Skipped] = []
        tried: set[int] = set()
        for attempt in range(MAX_ATTEMPTS):
            row = self.order.replacement(ordinal, attempt) if attempt else self.order.row(ordinal)
            tried.add(row)
            sample = self.at_row(row, ordinal)
            if isinstance(sample, Sample):
                return sample, tuple(skipped)
            skipped.append(sample)
        last = skipped[-1]
        raise DataError(
            f"source '{self.source.name}': none of the {len(tried)} samples that were tried "
            f"(of {len(self.source)}) can be used; "
            f"the last is '{last.key}': {last.reason}"
        )

    def at_row(self, row: int, ordinal: int) -> Sample | Skipped:
        """The sample in ``row``, with randomness that belongs to ``ordinal``; or why it has none.

        Only errors of data and of input are caught: anything else is a fault of a program.
        """
        key = f"row {row}"
        try:
            key, content = self.source.read(row)
            seed = (self.order.seed, self.source.name, ordinal)
            return Sample(key, {each.name: each.view(content[each.name], seed) for each in self.viewers})
        except (DataError, OSError) as error:
            return Skipped(self.source.name, key, str(error) or type(error).__name__)


def _generator(*seed: object) -> np.random.Generator:
    """A generator that is a pure function of its arguments."""
    digest = hashlib.blake2b(repr(seed).encode(), digest_size=16, person=b"view").digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, dtype=np.uint64)))


def _content_hash(content: bytes) -> int:
    return int(struct.unpack("<q", hashlib.blake2b(content, digest_size=8).digest())[0])
