"""What do rows spread evenly over a source hold, prepared as training prepares them?"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spectranet.contracts import Modality
from spectranet.data.crew import Crew, Stalled
from spectranet.data.failures import Skipped
from spectranet.data.pipeline import Pipeline, Sample, Viewer
from spectranet.errors import PluginError, SpectraNetError

__all__ = ["Looked", "Looks", "look"]

_CHUNK = 64
"""Rows that are under way at once: as many as a micro-batch."""


@dataclass(frozen=True)
class Looked:
    """One sample: what is known of each modality's bytes, decoded value and tokens."""

    row: int
    key: str
    bytes: Mapping[str, int]
    facts: Mapping[str, Mapping[str, float]]
    """What the modality's ``describe`` says; empty where it says nothing."""
    tokens: Mapping[str, int]
    content: Mapping[str, int]
    """Hash of the undecoded bytes."""


@dataclass
class Looks:
    """The samples of one source that were looked at."""

    rows: int
    """How many rows were asked for."""
    usable: list[Looked] = field(default_factory=list)
    failed: list[Skipped] = field(default_factory=list)
    undescribed: dict[str, str] = field(default_factory=dict)
    """Modality -> why its ``describe`` could not be used; the first reason."""

    @property
    def failure_share(self) -> float:
        return len(self.failed) / max(1, self.rows)


def look(
    pipeline: Pipeline,
    modalities: Mapping[str, Modality],
    options: Mapping[str, Any],
    rows: Sequence[int],
    *,
    threads: int,
    stall_s: float,
) -> Looks:
    """Prepare the samples in ``rows``; bad ones are counted with their reasons.

    Args:
        options: of each modality, as this source overrides them.
        threads: that read and decode at once.
        stall_s: a sample that takes longer is given up.

    Raises:
        DataError: the storage does not answer any more.
        PluginError: a plugin breaks what it has promised.
    """
    looks = Looks(rows=len(rows))
    eye = _Eye(pipeline, modalities, options, looks.undescribed)
    crew = Crew(threads, stall_s)
    try:
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            outcomes = crew.start(eye.look, [(row,) for row in chunk]).results()
            for row, outcome in zip(chunk, outcomes, strict=True):
                if isinstance(outcome, Looked):
                    looks.usable.append(outcome)
                elif isinstance(outcome, Stalled):
                    looks.failed.append(eye.failed(row, str(outcome)))
                else:
                    looks.failed.append(outcome)
    finally:
        crew.close()
    return looks


@dataclass
class _Eye:
    """Looks at one row; used by several threads."""

    pipeline: Pipeline
    modalities: Mapping[str, Modality]
    options: Mapping[str, Any]
    undescribed: dict[str, str]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self, row: int) -> Looked | Skipped:
        try:
            outcome = self.pipeline.at_row(row, row)
            if not isinstance(outcome, Sample):
                return outcome
            key, content = self.pipeline.source.read(row)
        except SpectraNetError as error:
            fault = error.__cause__
            if not isinstance(error, PluginError) or fault is None:
                return self.failed(row, str(error))
            # Bytes that a decoder should have refused; a page about bad samples must survive them.
            return self.failed(
                row, f"{type(fault).__name__}: {fault} (a fault of a plugin: it would end a run)"
            )
        return Looked(
            row=row,
            key=key,
            bytes={name: len(content[name]) for name in outcome.views},
            facts={each.name: self._facts(each, content[each.name]) for each in self.pipeline.viewers},
            tokens={name: len(view.hidden_N) for name, view in outcome.views.items()},
            content={name: view.content for name, view in outcome.views.items()},
        )

    def failed(self, row: int, reason: str) -> Skipped:
        source = self.pipeline.source
        return Skipped.of(source.name, source.key(row), reason)

    def _facts(self, viewer: Viewer, content: bytes) -> Mapping[str, float]:
        describe = self.modalities[viewer.name].describe
        if describe is None:
            return {}
        try:
            return dict(describe(self.options[viewer.name], viewer.decode(content)))
        except Exception as error:
            with self._lock:
                self.undescribed.setdefault(viewer.name, f"{type(error).__name__}: {error}")
            return {}
