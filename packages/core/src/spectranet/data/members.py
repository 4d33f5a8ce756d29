"""Which fields does a sample made of several files have? Shared by tar shards and folders.

A file's extension is its field. A dotted name that starts with ``json.`` is an entry of the sample's
JSON file: ``fields: {text: json.caption}`` reads ``caption`` from it, and ``json.meta.alt`` the entry
``meta.alt``, or where there is none ``alt`` in the object ``meta``. Names are compared in lower case.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence

from spectranet.data.options import OpenOptions
from spectranet.data.where import as_text
from spectranet.errors import DataError, did_you_mean

__all__ = ["encoded", "entries", "lacking", "no_entry", "offered", "one_value", "read_fields", "to_read"]

_JSON = "json."
_FEW = 12
"""Entries that a message names."""
_DEEPEST = 4
"""Levels of objects in which entries are named."""


def offered(extensions: Collection[str], options: OpenOptions) -> set[str]:
    """The fields that a sample with these extensions can give, as far as ``options`` asks."""
    fields = set(extensions)
    if "json" in fields:
        fields |= {name for names in options.needs for name in names if name.startswith(_JSON)}
    return fields


def lacking(fields: set[str], options: OpenOptions) -> str:
    """What is missing: ``"image and text"``; by the first field where no modality is named."""
    called = options.needed_by or [names[0] for names in options.needs]
    return " and ".join(
        name for name, names in zip(called, options.needs, strict=True) if fields.isdisjoint(names)
    )


def to_read(wanted: Sequence[str], extensions: Collection[str]) -> list[str]:
    """The extensions whose bytes :func:`read_fields` will ask for."""
    names = [name for name in wanted if name in extensions]
    if "json" in extensions and "json" not in names and any(name.startswith(_JSON) for name in wanted):
        names.append("json")
    return names


def read_fields(
    wanted: Sequence[str], extensions: Collection[str], read: Callable[[str], bytes], place: str
) -> dict[str, bytes]:
    """The bytes of those ``wanted`` fields that are there; ``read`` gives those of an extension.

    Raises:
        DataError: the sample's JSON is asked for an entry and cannot be parsed, or the entry is a list, an
            object or no text.
    """
    fields: dict[str, bytes] = {}
    for name in wanted:
        if name in extensions:
            fields[name] = read(name)
        elif name.startswith(_JSON) and "json" in extensions:
            value = _entry(_parsed(read("json"), place), name.removeprefix(_JSON))
            if value not in (None, ""):
                fields[name] = encoded(as_text(one_value(value, place, name)), place, name)
    return fields


def encoded(text: str, place: str, field: str) -> bytes:
    """``text`` in UTF-8.

    Raises:
        DataError: it holds half of a surrogate pair: JSON can say ``"\\ud83d"``, where a text was cut
            within a character, and UTF-8 cannot.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise DataError(f"{place}: '{field}' holds half a character ({half}), which is no text") from error


def one_value(value: object, place: str, field: str) -> object:
    """``value``, which numbers and truth values may be as well as text.

    Raises:
        DataError: it is a list or an object, which no tokenizer should see as JSON.
    """
    if isinstance(value, list | dict):
        kind = "a list" if isinstance(value, list) else "an object"
        raise DataError(f"{place}: '{field}' holds {kind}, not one value")
    return value


def entries(content: bytes, place: str) -> dict[str, object]:
    """What a sample's JSON holds, by name; of nested objects ``meta.alt``.

    Raises:
        DataError: it cannot be parsed.
    """
    return _named(_parsed(content, place), "", 0)


def _named(value: Mapping[str, object], above: str, depth: int) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, item in value.items():
        name = above + key.lower()
        if isinstance(item, dict) and item and depth < _DEEPEST:
            found |= _named(item, f"{name}.", depth + 1)
        else:
            found[name] = item
    return found


def no_entry(names: Sequence[str], content: bytes, place: str) -> str:
    """Why a sample's JSON gives no text for ``names``, and what it has; goes on after ``(looked for …)``."""
    there = entries(content, place)
    asked = [name.removeprefix(_JSON) for name in names]
    if empty := [name for name in asked if name in there]:
        return f"; its '{', '.join(empty)}' is empty"
    hint = next(filter(None, (did_you_mean(name, there) for name in asked)), "")
    # In quotes, so that failures which differ in nothing else count as one reason.
    listed = ", ".join([*list(there)[:_FEW], *(["…"] if len(there) > _FEW else [])])
    return f".{hint} Its JSON has '{listed}'"


def _parsed(content: bytes, place: str) -> dict[str, object]:
    """The entries of a sample's JSON."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:  # the latter: nested a thousand deep
        raise DataError(f"{place}: its JSON cannot be parsed: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{place}: its JSON is no object with named entries")
    return value


def _entry(value: object, name: str) -> object:
    """The entry of an object with that name, the exact name before a path; None where there is none."""
    if not isinstance(value, dict) or not name:
        return None
    lower = {key.lower(): item for key, item in value.items()}
    head, _, rest = name.partition(".")
    return lower[name] if name in lower else _entry(lower.get(head), rest)
