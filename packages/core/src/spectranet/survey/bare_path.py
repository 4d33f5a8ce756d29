"""Which configuration would read a path of which nothing else is known?"""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Collection, Mapping, Sequence

from spectranet.config import SourceConfig
from spectranet.contracts import Modality, Reader, SampleSet
from spectranet.data.manifest import LITERAL_COLUMNS
from spectranet.data.members import entries
from spectranet.data.options import OpenOptions
from spectranet.data.paths import missing_source
from spectranet.errors import DataError

__all__ = ["guess_source", "source_name"]

_FEW = 8
"""Samples that are asked for their JSON, and entries that a note names."""
_PATH_ENDING = re.compile(r"_(path|file)$")


def guess_source(
    path: str, modalities: Mapping[str, Modality], readers: Sequence[Reader], options: OpenOptions
) -> tuple[SourceConfig, list[str]]:
    """A source with every modality that the fields found can give, and what else they could be.

    A field goes to the modality that prefers it most: ``mp4`` to video rather than to audio.

    Raises:
        DataError: no reader takes the path, or no loaded modality reads any of its fields.
    """
    reader = next((reader for reader in readers if reader.matches(path)), None)
    if reader is None:
        if not os.path.exists(os.path.expanduser(path)):
            raise DataError(missing_source(path))
        formats = ", ".join(each.name for each in readers)
        raise DataError(f"no reader takes '{path}' by its name; formats: {formats}")
    samples = reader.open(path, options)
    found = list(getattr(samples, "found", ()))
    fields = {_field_of(name): name for name in reversed(found)}
    chosen, notes = _share_out(fields, modalities)
    textless = _without_text(chosen, modalities)
    texts = _texts(samples) if textless and "json" in found else []
    for name in textless if texts else ():
        others = f" (its texts: {', '.join(texts[:_FEW])})" if len(texts) > 1 else ""
        notes.append(
            f"'json' could give {name} too: fields.{name}={texts[0]}, and {name} among the modalities{others}"
        )
    if not chosen:
        raise DataError(_nothing_read(path, found, [*texts, *found, "FIELD"][0], modalities))
    unusual = {name: fields[field] for name, field in chosen.items() if fields[field] != field}
    return SourceConfig(path=path, modalities=sorted(chosen), fields=unusual), notes


def source_name(path: str) -> str:
    """``shards/laion/{000..099}.tar`` to ``laion``: the last part of the path that is a name.

    Patterns and numbers are none, such as those of shards and the address of a server.
    """
    parts = [
        part for part in re.split(r"[/\\]", path.rpartition("://")[2]) if not re.search(r"[*?{\[]", part)
    ]
    names = [re.sub(r"\W+", "-", part.split(".")[0]).strip("-") for part in parts]
    return next((name for name in reversed(names) if re.search(r"[^\W\d_]", name)), "data")


def _nothing_read(path: str, found: Sequence[str], field: str, modalities: Mapping[str, Modality]) -> str:
    """What there is, what the modalities read, and the options that bring them together."""
    option = f"data.sources.{source_name(path)}"
    lines = [f"found: {', '.join(found) or 'none'}", "modalities read:" + " none" * (not modalities)]
    lines += [f"  {name}: {', '.join(each.fields)}" for name, each in modalities.items()]
    wrapped = [textwrap.fill(f"  {line}", 80, subsequent_indent=" " * 6) for line in lines]
    return "\n".join(
        [
            f"'{path}': no loaded modality reads a field of it",
            *wrapped,
            f"  to say which is which:  spectranet data inspect {option}.path={path} "
            f"'{option}.modalities=[…]' {option}.fields.MODALITY={field}",
        ]
    )


def _field_of(name: str) -> str:
    """A manifest's column ``image_path`` holds what ``image`` would."""
    return _PATH_ENDING.sub("", name)


def _share_out(
    fields: Collection[str], modalities: Mapping[str, Modality]
) -> tuple[dict[str, str], list[str]]:
    """Modality -> field, each field to one modality; and a note where another could have had it."""
    chosen: dict[str, str] = {}
    notes: list[str] = []
    for field in fields:
        takers = sorted(
            (each.fields.index(field), name) for name, each in modalities.items() if field in each.fields
        )
        if not takers:
            continue
        _, first = takers[0]
        if first not in chosen or _rank(modalities[first], field) < _rank(modalities[first], chosen[first]):
            chosen[first] = field
        notes += [
            f"'{field}' could give {name} too: fields.{name}={field}, and {name} among the modalities"
            for _, name in takers[1:]
        ]
    return chosen, notes


def _without_text(chosen: Collection[str], modalities: Mapping[str, Modality]) -> list[str]:
    """Modalities that are text by the names of their fields, and have none of these."""
    takers = {name for name, each in modalities.items() if not LITERAL_COLUMNS.isdisjoint(each.fields)}
    return sorted(takers - set(chosen))


def _texts(samples: SampleSet) -> list[str]:
    """Entries of the first JSON that are text, as ``fields`` names them; those named like captions first."""
    for row in range(min(_FEW, len(samples))):
        try:
            content = samples.read(row, ("json",)).fields.get("json", b"{}")
            there = entries(content, f"row {row}")
        except DataError:
            continue
        texts = [name for name, value in there.items() if isinstance(value, str) and value]
        if texts:
            texts.sort(key=lambda name: name.rpartition(".")[2] not in LITERAL_COLUMNS)
            return [f"json.{name}" for name in texts]
    return []


def _rank(modality: Modality, field: str) -> int:
    return modality.fields.index(field)
