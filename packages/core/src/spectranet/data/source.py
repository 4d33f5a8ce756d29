"""A source of the configuration, opened: which modalities, from which fields, how many samples.

All samples of a source have the same modalities. Rows that lack one of them are left out when the
source is opened (and counted in ``dropped``) where the reader can tell; where it cannot, reading
such a row raises, and the pipeline replaces it.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from spectranet.config import DataConfig, SourceConfig
from spectranet.contracts import Modality, Reader, SampleSet
from spectranet.data.manifest import LITERAL_COLUMNS
from spectranet.data.members import no_entry
from spectranet.data.options import OpenOptions
from spectranet.data.paths import missing_source
from spectranet.errors import ConfigError, DataError, PluginError, did_you_mean

__all__ = ["Source", "open_source", "open_sources"]

_FEW = 12
"""Names of fields that a message lists."""

_FEW_BROKEN = 3
"""Broken parts that a message names."""

_NOUN = re.compile(r"^(.*?\b(?:row|sample|name|member|file))\b")
"""A reason up to the end of its noun: readers write it in the singular."""


@dataclass(frozen=True)
class Source:
    """Random access to the undecoded modalities of aligned samples.

    Attributes:
        format: the name of the reader.
        modalities: sorted names.
        fields: for each modality the fields it may come from, the preferred first.
        overrides: for each modality its options that differ in this source.
        dropped: how many rows were left out when the source was opened, by reason.
        broken: parts (shards) of which nothing or not everything can be read, and why.
    """

    name: str
    samples: SampleSet
    modalities: tuple[str, ...]
    fields: Mapping[str, tuple[str, ...]]
    weight: float = 1.0
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    format: str = ""

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def parts(self) -> Sequence[int]:
        """Number of rows of each part (shard); rows are numbered part after part.

        Raises:
            PluginError: the reader's numbers do not add up to its rows.
        """
        parts: Sequence[int] = getattr(self.samples, "parts", (len(self),))
        if (rows := int(np.sum(parts))) != len(self):
            raise PluginError(
                f"source '{self.name}': its reader counts {rows} rows in parts, and {len(self)} in all"
            )
        return parts

    @cached_property
    def _wanted(self) -> tuple[str, ...]:
        """Every field that a modality may come from, once."""
        return tuple(dict.fromkeys(name for names in self.fields.values() for name in names))

    def read(self, row: int) -> tuple[str, dict[str, bytes]]:
        """Key of the sample in ``row`` and the undecoded bytes of each modality.

        Raises:
            DataError: it cannot be read, or lacks a modality; names the key.
        """
        raw = self.samples.read(row, self._wanted)
        content = {}
        for modality in self.modalities:
            names = self.fields[modality]
            found = next((name for name in names if name in raw.fields), None)
            if found is None:
                looked = f"sample '{raw.key}' has no {modality} (looked for {', '.join(names)})"
                raise DataError(looked + self._why_no_entry(row, names, raw.key))
            content[modality] = raw.fields[found]
        return raw.key, content

    def _why_no_entry(self, row: int, names: Sequence[str], key: str) -> str:
        """What the sample's JSON has instead, where an entry of it was looked for."""
        asked = [name for name in names if name.startswith("json.")]
        found = self.samples.read(row, ("json",)).fields if asked else {}
        return no_entry(asked, found["json"], key) if "json" in found else ""

    def key(self, row: int) -> str:
        """What to call the sample in ``row`` where it cannot be read; asks nothing of the storage."""
        named = getattr(self.samples, "key", None)
        return named(row) if named else f"row {row}"

    def describe(self) -> str:
        """One line: ``emoji: 3635 samples of image, text (177 left out: 177 rows without text)``.

        With what is broken: ``…; 2 of 40 shards cannot be read whole: 'a.tar': no end; 'b.tar': …``.
        """
        left_out = sum(self.dropped.values())
        note = f" ({left_out} left out: {_reasons(self.dropped)})" if left_out else ""
        return f"{self.name}: {len(self)} samples of {', '.join(self.modalities)}{note}{self._damage()}"

    def _damage(self) -> str:
        if not self.broken:
            return ""
        named = [f"'{part}': {reason}" for part, reason in self.broken.items()][:_FEW_BROKEN]
        more = ["…"] if len(self.broken) > len(named) else []
        return f"; {self.count_broken()} cannot be read whole: {'; '.join([*named, *more])}"

    def is_too_broken(self, limit: float) -> bool:
        """Whether no run starts on it, with ``limit`` the share of samples that may fail.

        One broken part is let through however few there are, unless nothing may fail: a download that was
        cut short is the commonest of accidents, while two of a few are no accident.
        """
        return len(self.broken) > max(limit * len(self.parts), 1 if limit > 0 else 0)

    def count_broken(self) -> str:
        """``2 of 40 shards``."""
        return f"{len(self.broken)} of {len(self.parts)} shards"


def open_sources(
    configs: Mapping[str, SourceConfig],
    modalities: Mapping[str, Modality],
    readers: Sequence[Reader],
    data: DataConfig,
    section: str = "data",
) -> list[Source]:
    """All sources of a section of the configuration, ``data`` or ``eval``, in its order.

    Raises:
        ConfigError: lists what is wrong with every source that cannot be used.
    """
    opened, problems = [], []
    for name, config in configs.items():
        try:
            opened.append(open_source(name, config, modalities, readers, data, section))
        except (ConfigError, DataError) as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return opened


def open_source(
    name: str,
    config: SourceConfig,
    modalities: Mapping[str, Modality],
    readers: Sequence[Reader],
    data: DataConfig,
    section: str = "data",
) -> Source:
    """Check a source's configuration and open its path; ``section`` is where it stands, for messages.

    Raises:
        ConfigError: an option cannot be used; lists every problem.
        DataError: the path cannot be read, or no sample has all the modalities.
    """
    problems = _problems(config, modalities)
    if problems:
        raise ConfigError("\n".join(f"source '{name}': {problem}" for problem in problems))
    fields = {
        modality: (config.fields[modality].lower(),)
        if modality in config.fields
        else modalities[modality].fields
        for modality in sorted(config.modalities)
    }
    options = OpenOptions(
        where=dict(config.where),
        needs=tuple(fields.values()),
        needed_by=tuple(fields),
        literal=frozenset(
            fields[modality][0]
            for modality in config.fields
            if not LITERAL_COLUMNS.isdisjoint(modalities[modality].fields)
        ),
        cache_dir=data.cache_dir,
        cache_bytes=int(data.cache_gib * 2**30),
    )
    try:
        reader = _reader(config, readers, f"{section}.sources.{name}")
        samples = reader.open(config.path, options)
    except (ConfigError, DataError) as error:
        raise type(error)(f"source '{name}': {error}") from error
    source = Source(
        name=name,
        samples=samples,
        modalities=tuple(fields),
        fields=fields,
        weight=config.weight,
        overrides={modality: dict(options) for modality, options in config.overrides.items()},
        dropped=dict(getattr(samples, "dropped", {})),
        broken=dict(getattr(samples, "broken", {})),
        format=reader.name,
    )
    if not len(source):
        found = tuple(getattr(samples, "found", ()))
        raise DataError(_nothing_usable(source, config, found, f"{section}.sources.{name}"))
    return source


def _nothing_usable(source: Source, config: SourceConfig, found: Sequence[str], option: str) -> str:
    """Why no sample is left, and the option that names a field which nobody looked for."""
    lines = [f"source '{source.name}': no sample in '{config.path}' can be used"]
    if source.dropped:
        lines[0] += f": {_reasons(source.dropped)}"
    elif config.where:
        kept = OpenOptions(where=config.where).kept_values()
        wanted = ", ".join(f"{column}={' or '.join(values)}" for column, values in kept.items())
        lines.append(f"where: no row has {wanted}")
    listed = ", ".join(found[:_FEW]) + (", …" if len(found) > _FEW else "")
    wanted_by_any = {name for names in source.fields.values() for name in names}
    spare = [name for name in found if name not in wanted_by_any and name not in ("key", "id")]
    for modality, names in source.fields.items():
        if found and set(names).isdisjoint(found):
            near = difflib.get_close_matches(modality, spare, n=1) or spare or ["NAME"]
            lines.append(f"{modality}: looked for {', '.join(names)}; found only {listed}")
            lines.append(f"if one of them holds it, say so:  {option}.fields.{modality}={near[0]}")
    return "\n  ".join(lines)


def _reasons(dropped: Mapping[str, int]) -> str:
    """``2 rows without text; 1 duplicate member``."""
    plural = {reason: _NOUN.sub(r"\1s", reason) for reason in dropped}
    return "; ".join(
        f"{count} {reason if count == 1 else plural[reason]}" for reason, count in dropped.items()
    )


def _problems(config: SourceConfig, modalities: Mapping[str, Modality]) -> list[str]:
    problems = []
    if not config.path:
        problems.append("it has no path")
    if not config.modalities:
        problems.append("it lists no modalities")
    for modality in config.modalities:
        if modality not in modalities:
            problems.append(
                f"modality '{modality}' is not loaded.{did_you_mean(modality, modalities)}"
                f" Loaded: {', '.join(sorted(modalities)) or 'none'}"
            )
    if len(set(config.modalities)) < len(config.modalities):
        problems.append("it lists a modality twice")
    for option in ("fields", "overrides"):
        for modality in getattr(config, option).keys() - set(config.modalities):
            problems.append(
                f"{option}.{modality}: '{modality}' is not among its modalities."
                f"{did_you_mean(modality, config.modalities)}"
            )
    if not (config.weight > 0 and math.isfinite(config.weight)):
        problems.append(f"weight must be a positive number, not {config.weight}")
    return problems


def _reader(config: SourceConfig, readers: Sequence[Reader], option: str) -> Reader:
    by_name = {reader.name: reader for reader in readers}
    if config.format != "auto":
        if config.format not in by_name:
            raise ConfigError(
                f"format '{config.format}' is unknown.{did_you_mean(config.format, by_name)}"
                f" Known: auto, {', '.join(sorted(by_name))}"
            )
        return by_name[config.format]
    for reader in readers:
        if reader.matches(config.path):
            return reader
    if not os.path.exists(os.path.expanduser(config.path)):
        raise DataError(missing_source(config.path))
    raise DataError(
        f"no reader takes '{config.path}' by its name; formats: {', '.join(sorted(by_name)) or 'none'}\n"
        f"  if it has one of them, say so:  {option}.format={min(by_name, default='NAME')}"
    )
