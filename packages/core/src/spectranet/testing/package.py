"""What the contract asks of every plugin, whatever it brings."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

from spectranet.plugins import PLUGIN_API, PluginHost, PluginInfo, discover
from spectranet.testing.clause import clause, require

__all__ = ["PackageConformance"]


class PackageConformance:
    """To be inherited through :class:`ModalityConformance` or :class:`ObjectiveConformance`.

    Attributes:
        plugin: name of the entry point, as ``--plugins`` takes it.
        name: name of the modality or objective that it brings.
        options: values of its options for these tests, where they differ from the defaults; small
            ones make the tests quick.
    """

    plugin: ClassVar[str]
    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def host(cls) -> PluginHost:
        """The host with this plugin alone.

        Raises:
            PluginError: it is not installed, or cannot be loaded.
        """
        return _host(cls.plugin)

    @classmethod
    def who(cls) -> str:
        """How failures call it."""
        return f"{cls.name} of plugin '{cls.plugin}'"

    @clause
    def test_one_entry_point(self) -> None:
        """Exactly one entry point of the group ``spectranet.plugins.v1`` offers the plugin."""
        offers = offers_of(self.plugin)
        where = [f"{info.distribution} {info.version} ({info.target})" for info in offers]
        require(len(offers) == 1, f"{len(offers)} entry points '{self.plugin}': {', '.join(where) or 'none'}")


def offers_of(plugin: str) -> list[PluginInfo]:
    """What metadata says of the plugin, for this major version of the contracts."""
    return [info for info in discover() if info.name == plugin and info.api == PLUGIN_API]


@cache
def _host(plugin: str) -> PluginHost:
    return PluginHost.load([plugin])
