"""From a row to a sample that a model can take: read, decode, transform, mask.

Everything random is drawn from generators seeded with (seed, source, ordinal, modality), so a sample
looks the same whoever prepares it. Suffixes: N tokens, P coordinates of a position.

Threads read, decode and transform, which is work that lets other threads run. Masks are drawn for the
whole micro-batch afterwards: between two pictures the same few lines of Python take three times as long,
for want of a warm cache.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence

from spectranet.contracts import Modality, Values
from spectranet.data.ahead import Ahead
from spectranet.data.crew import Crew, Errand, Stalled
from spectranet.data.failures import Skipped, tally, worst
from spectranet.data.order import Order
from spectranet.data.source import Source
from spectranet.errors import DataError, PluginError, SpectraNetError

__all__ = ["MAX_ATTEMPTS", "Pipeline", "Prepared", "Sample", "View", "Viewer"]

MAX_ATTEMPTS = 100
"""Rows drawn for one sample, with repetition, before the source is given up."""
_HASHED_WHOLE = 8 << 10
_PIECES, _PIECE = 16, 512


@dataclass(frozen=True)
class Looked:
    """One modality of one sample, transformed."""

    values: Values
    content: int
    """Hash of the undecoded bytes, in the range of int64."""
    rng: np.random.Generator
    """What the transform drew from; the mask is drawn next."""


@dataclass(frozen=True)
class View:
    """One modality of one sample, and what a pass shows of it."""

    values: Values
    content: int
    """Hash of the undecoded bytes, in the range of int64."""
    hidden_N: np.ndarray
    """bool (N,): True at tokens that the encoder must not see."""


@dataclass(frozen=True)
class Prepared:
    """A sample before its masks are drawn."""

    key: str
    looked: Mapping[str, Looked]


@dataclass(frozen=True)
class Sample:
    key: str
    views: Mapping[str, View]
    """Sorted by name."""


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
        """Decode, transform and mask the bytes of one sample; raises what :meth:`look` does."""
        return self.hide(self.look(content, seed))

    def look(self, content: bytes, seed: tuple[object, ...]) -> Looked:
        """Decode and transform the bytes of one sample.

        Raises:
            DecodeError: the bytes cannot be decoded.
            DataError: no token comes out.
        """
        rng = _generator(*seed, self.name)
        values = self.transform(self.decode(content), rng)
        tokens = len(values.position_NP)
        if tokens == 0:
            raise DataError(f"its {self.name} gives no token")
        if len(values.segment_N) != tokens:
            raise PluginError(
                f"modality '{self.name}' gives {tokens} positions and {len(values.segment_N)} segments"
            )
        return Looked(values, _content_hash(content), rng)

    def hide(self, looked: Looked) -> View:
        """Draw which tokens the encoder must not see."""
        if self.ratio > 0:
            hidden_N = self._mask(looked.values, looked.rng)
        else:
            hidden_N = np.zeros(len(looked.values.position_NP), dtype=bool)
        return View(looked.values, looked.content, hidden_N)

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

    def samples(self, ordinals: Sequence[int], crew: Crew) -> list[tuple[Sample, tuple[Skipped, ...]]]:
        """Samples of a run by their numbers, each with those that were tried for it and cannot be used.

        What stands in for a bad sample is a pure function of its ordinal and of the attempt. All
        samples get their first attempt before any gets its second.

        Raises:
            DataError: none of ``MAX_ATTEMPTS`` rows could be used, or the storage does not answer.
        """
        for ordinal in ordinals:
            self.ahead.reach(ordinal)
        found: dict[int, Prepared] = {}
        skipped: dict[int, list[Skipped]] = {ordinal: [] for ordinal in ordinals}
        lacking = list(ordinals)
        for attempt in range(MAX_ATTEMPTS):
            draw = partial(self.order.replacement, attempt=attempt) if attempt else self.order.row
            rows = [draw(ordinal) for ordinal in lacking]
            outcomes = self.outcomes(rows, self.begin(rows, lacking, crew))
            for ordinal, outcome in zip(lacking, outcomes, strict=True):
                if isinstance(outcome, Prepared):
                    found[ordinal] = outcome
                else:
                    skipped[ordinal].append(replace(outcome, attempt=attempt))
            lacking = [ordinal for ordinal in lacking if ordinal not in found]
            if not lacking:
                return [(self.hide(found[each]), tuple(skipped[each])) for each in ordinals]
        tried = {each.key: each for each in skipped[lacking[0]]}
        raise DataError(
            f"source '{self.source.name}': none of the {len(tried)} samples that were tried "
            f"(of {len(self.source)}) can be used\n{worst(tally(tried.values()))}"
        )

    def begin(self, rows: Sequence[int], ordinals: Sequence[int], crew: Crew) -> Errand:
        """Let a crew :meth:`prepare` each; returns at once."""
        return crew.start(self.prepare, list(zip(rows, ordinals, strict=True)))

    def outcomes(self, rows: Sequence[int], errand: Errand) -> list[Prepared | Skipped]:
        """What was begun, in order; a sample that did not end in time is skipped.

        Raises:
            DataError: so many do not end that the storage must be gone.
        """
        try:
            results = errand.results()
        except DataError as error:
            raise DataError(f"source '{self.source.name}': {error}") from error
        return [
            self._skip(row, each) if isinstance(each, Stalled) else each
            for row, each in zip(rows, results, strict=True)
        ]

    def at_row(self, row: int, ordinal: int) -> Sample | Skipped:
        """The sample in ``row``, with randomness that belongs to ``ordinal``; or why it has none."""
        outcome = self.prepare(row, ordinal)
        return self.hide(outcome) if isinstance(outcome, Prepared) else outcome

    def prepare(self, row: int, ordinal: int) -> Prepared | Skipped:
        """:meth:`at_row` without its masks.

        Raises:
            PluginError: a program is at fault, and neither the data nor the storage; names the sample.
        """
        key = None
        try:
            key, content = self.source.read(row)
            seed = self.order.seed, self.source.name, ordinal
            return Prepared(key, {each.name: each.look(content[each.name], seed) for each in self.viewers})
        except (DataError, OSError) as error:
            return self._skip(row, error, key)
        except SpectraNetError:
            raise
        except Exception as error:
            raise self._fault(row, error, key) from error

    def hide(self, prepared: Prepared) -> Sample:
        """Draw the masks of a sample."""
        return Sample(
            prepared.key, {each.name: each.hide(prepared.looked[each.name]) for each in self.viewers}
        )

    def _fault(self, row: int, error: Exception, key: str | None) -> PluginError:
        at = self._skip(row, f"{type(error).__name__}: {error}", key)
        fault = PluginError(
            f"source '{at.source}', sample '{at.key}': {at.reason}\n"
            "  this is a fault in a program and not in the data; full traceback:  SPECTRANET_DEBUG=1"
        )
        fault.same_on_all_ranks = False  # no other rank has this sample
        return fault

    def _skip(self, row: int, reason: object, key: str | None = None) -> Skipped:
        told = str(reason) or type(reason).__name__
        return Skipped.of(self.source.name, self.source.key(row) if key is None else key, told)


def _generator(*seed: object) -> np.random.Generator:
    """A generator that is a pure function of its arguments."""
    digest = hashlib.blake2b(repr(seed).encode(), digest_size=32, person=b"view").digest()
    return np.random.Generator(np.random.PCG64DXSM(_Key(digest)))


class _Key(ISeedSequence):
    """The 32 bytes that a generator starts from, already mixed: numpy's own mixing takes twice as long as
    all the rest."""

    def __init__(self, digest: bytes) -> None:
        self._digest = digest

    def generate_state(self, n_words: int, dtype: Any = np.uint64) -> np.ndarray:
        return np.frombuffer(self._digest, dtype=dtype, count=n_words)


def _content_hash(content: bytes) -> int:
    """Equal for equal bytes. Of long ones the length and 16 pieces are read: files that agree in those
    are the same picture or sound, but for a few bits, and hashing all costs as much as cutting it out."""
    if len(content) > _HASHED_WHOLE:
        step = (len(content) - _PIECE) // (_PIECES - 1)
        pieces = [content[i * step : i * step + _PIECE] for i in range(_PIECES - 1)]
        content = b"".join([struct.pack("<q", len(content)), *pieces, content[-_PIECE:]])
    return int(struct.unpack("<q", hashlib.blake2b(content, digest_size=8).digest())[0])
