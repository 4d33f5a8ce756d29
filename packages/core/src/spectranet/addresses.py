"""How is a callable named without importing what it needs?"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

__all__ = ["lazy"]


@dataclass(frozen=True)
class lazy:  # noqa: N801 - reads as a function where it is used
    """A callable given by its address, imported at the first call: ``lazy("package.module:name")``.

    Picklable, so that data-loading workers can carry it.
    """

    address: str

    def resolve(self) -> Any:
        module, _, name = self.address.partition(":")
        return getattr(importlib.import_module(module), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.resolve()(*args, **kwargs)
