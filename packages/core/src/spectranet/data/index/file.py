"""How is an index kept in a file, so that damage to it is noticed?

A safetensors file, which never runs code when it is read: arrays, and JSON in its metadata. A CRC-32
of both stands in the metadata as well, since safetensors itself notices only a wrong length.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

__all__ = ["Unusable", "pack", "smallest", "unpack"]

_VERSION = 1


class Unusable(Exception):  # noqa: N818 - says a state, and is always caught
    """The content of an index file cannot be used; says why."""


def pack(kind: str, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> bytes:
    """The content of an index file. ``about`` must be JSON."""
    said = {"kind": kind, "version": _VERSION, "about": about}
    said["crc32"] = _checksum(said, arrays)
    # One entry, since safetensors writes several in an order that changes from time to time.
    metadata = {"index": json.dumps(said, sort_keys=True)}
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata)


def unpack(kind: str, content: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What :func:`pack` was given.

    Raises:
        Unusable: it is damaged, or of another kind or version.
    """
    try:
        length = int.from_bytes(content[:8], "little")
        said = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["index"])
        arrays = load(content)
        name = f"{said['kind']}, version {said['version']}"
        sound = said.pop("crc32") == _checksum(said, arrays)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unusable("it is damaged") from error
    if name != f"{kind}, version {_VERSION}":
        raise Unusable(f"it is a {name}, rather than a {kind}, version {_VERSION}")
    if not sound:
        raise Unusable("it is damaged")
    return arrays, said["about"]


def smallest(values: Any) -> np.ndarray:
    """The same non-negative integers as the smallest unsigned type that holds them."""
    array = np.asarray(values, dtype=np.uint64)
    return array.astype(np.min_scalar_type(int(array.max(initial=0))))


def _checksum(said: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    value = zlib.crc32(json.dumps(said, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        value = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), value)
        value = zlib.crc32(np.ascontiguousarray(array).data, value)
    return f"{value:08x}"
