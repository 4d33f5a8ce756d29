"""Which plugins and presets does a configuration ask for? Found out before there is a schema."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from spectranet.builtin import core_presets
from spectranet.config.layers import COMMAND_LINE, Layer, read_layers
from spectranet.config.remembered import plugins_of_run
from spectranet.config.schema import Config
from spectranet.contracts import Preset
from spectranet.errors import ConfigError, did_you_mean
from spectranet.plugin_messages import DEFAULT_CHOICE
from spectranet.plugins import PluginHost, discover, installed_first_party

__all__ = ["PresetFinder", "load_host"]


class PresetFinder:
    """Finds presets: the core's without loading anything, others by loading the chosen plugins."""

    def __init__(self, plugins: Sequence[str] | None, overrides: Sequence[str] = ()) -> None:
        self._plugins = plugins
        self._overrides = overrides
        self.providers: dict[str, str] = {}
        """Plugin -> why it is loaded: it brought a preset that is in use."""

    def __call__(self, name: str) -> Preset:
        known = {preset.name: preset for preset in core_presets()}
        if name not in known:
            host = load_host(read_layers((), self._overrides, self), self._plugins, {})
            known = host.presets
            if name in known:
                self.providers[host.brought_by("preset", name)] = f"--config {name}"
        if name not in known:
            here = f"\n  to read the file of this name write ./{name}" if os.path.isfile(name) else ""
            listed = ", ".join(known) or "none"
            raise ConfigError(
                f"unknown preset '{name}'.{did_you_mean(name, known)}\n  presets: {listed}{here}"
            )
        return known[name]


def load_host(layers: Sequence[Layer], plugins: Sequence[str] | None, also: Mapping[str, str]) -> PluginHost:
    """Load what ``--plugins`` names, else the layers, else every installed first-party plugin."""
    infos = discover()
    named, origin = _names(layers, "plugins")
    if plugins is not None:
        named, origin = list(plugins), "--plugins"
    if named is None:
        named, origin = installed_first_party(infos), DEFAULT_CHOICE
    extra = dict(also)
    objective_plugins, where = _names(layers, "objective_plugins")
    if objective_plugins is None:
        # Nobody named them: without them there are only fewer objectives to name.
        installed = {info.name for info in infos}
        where = DEFAULT_CHOICE
        objective_plugins = [name for name in Config().objective_plugins if name in installed]
    extra |= dict.fromkeys(objective_plugins, where)
    run_dir = next((layer.tree["run_dir"] for layer in reversed(layers) if "run_dir" in layer.tree), None)
    return PluginHost.load(named, origin, extra, lambda: plugins_of_run(str(run_dir or Config().run_dir)))


def _names(layers: Sequence[Layer], key: str) -> tuple[list[str] | None, str]:
    """The last list of names that a layer gives for ``key``, and where it stands."""
    names, origin = None, ""
    for layer in layers:
        if key in layer.tree:
            names = layer.tree[key]
            on_command_line = layer.origin == COMMAND_LINE
            origin = f"{key}= on the command line" if on_command_line else f"{key} in {layer.origin}"
            if names is not None and not _is_names(names):
                raise ConfigError(f"{key}: wants a list of names, such as [vision, text] ({layer.origin}).")
    return names, origin


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
