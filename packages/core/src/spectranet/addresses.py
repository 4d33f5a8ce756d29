"""How is a callable named without importing what it needs?"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from dataclasses import dataclass
from typing import Any

from spectranet.errors import PluginError, did_you_mean

__all__ = ["lazy"]


@dataclass(frozen=True)
class lazy:  # noqa: N801 - reads as a function where it is used
    """A callable given by its address, imported at the first call: ``lazy("package.module:name")``.

    Picklable, so that data-loading workers can carry it.
    """

    address: str

    def resolve(self) -> Any:
        """What stands at the address.

        Raises:
            PluginError: nothing does. What its module raises while it is imported is not touched.
        """
        module, _, name = self.address.partition(":")
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise  # its module was found, and imports one that is not installed
            raise PluginError(self._no_module(error.name)) from error
        if not hasattr(found, name):
            hint = did_you_mean(name, dir(found))
            raise PluginError(f"{self._who()}, but {module} has no '{name}'.{hint}\n{_MEND}")
        return getattr(found, name)

    def _no_module(self, missing: str) -> str:
        package = missing.rpartition(".")[0]
        path = getattr(sys.modules.get(package), "__path__", [])
        beside = ", ".join(sorted(each.name for each in pkgutil.iter_modules(path)))
        listing = f"\n  modules in {package}: {beside}" if beside else ""
        return f"{self._who()}, but there is no module '{missing}'.{listing}\n{_MEND}"

    def _who(self) -> str:
        return f"a declaration of {self.address.partition('.')[0]} names lazy('{self.address}')"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.resolve()(*args, **kwargs)


_MEND = "  write there the address of what you mean: package.module:name"
