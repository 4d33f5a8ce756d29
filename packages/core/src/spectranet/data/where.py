"""Which rows of a manifest does ``where`` keep, and what is wrong with it when it keeps none?"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from spectranet.data.options import OpenOptions
from spectranet.errors import did_you_mean

__all__ = ["RowFilter", "as_text"]

_MOST_OTHERS = 100
"""Values of a column that nobody asked for are remembered up to this number, for hints."""
_FEW = 8


class RowFilter:
    """Keeps the rows whose columns have one of the values that ``where`` names for them."""

    def __init__(self, options: OpenOptions) -> None:
        self._kept = options.kept_values()
        self._met: dict[str, set[str]] = {name: set() for name in self._kept}
        self._others: dict[str, set[str]] = {name: set() for name in self._kept}

    def keeps(self, columns: Mapping[str, Any]) -> bool:
        keeps = True
        for name, values in self._kept.items():
            value = as_text(columns.get(name))
            if value in values:
                self._met[name].add(value)
            else:
                keeps = False
                if name in columns and len(self._others[name]) < _MOST_OTHERS:
                    self._others[name].add(value)
        return keeps

    def problems(self, columns: Collection[str]) -> Iterator[str]:
        """Columns and values that no row has; columns in lower case."""
        for name, values in self._kept.items():
            if name not in columns:
                hint = did_you_mean(name, columns)
                listed = ", ".join(sorted(columns))
                yield f"has no column '{name}' (from where).{hint}\n  columns: {listed}"
                continue
            others = sorted(self._others[name] | self._met[name])
            listed = ", ".join(others[:_FEW]) + (", …" if len(others) > _FEW else "")
            for value in values:
                if value not in self._met[name]:
                    hint = did_you_mean(value, others)
                    yield f"has no row with {name}={value} (from where).{hint}\n  values: {listed}"


def as_text(value: Any) -> str:
    """Text as it is, every other value of a manifest as its JSON: ``true``, ``3``, ``null``."""
    return value if isinstance(value, str) else json.dumps(value)
