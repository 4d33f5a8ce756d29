"""Where was a batch before it was moved to a GPU?"""

from __future__ import annotations

from typing import Self

__all__ = ["Moved"]


class Moved:
    """Knows what it is a copy of. Not a field: ``dataclasses.replace`` makes something else of it."""

    @property
    def host(self) -> Self:
        """The same before it was moved to a GPU, or itself.

        How many, how long, whether any: such questions to masks and indices are asked here, since a GPU is
        waited for until it answers.
        """
        return vars(self).get("_host", self)  # type: ignore[no-any-return]

    def moved_from(self, host: Self) -> Self:
        vars(self)["_host"] = host
        return self
