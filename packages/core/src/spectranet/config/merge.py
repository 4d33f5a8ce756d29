"""How do defaults, presets, files and the command line become one checked configuration?

1. The layers are read without a schema, to learn which plugins they name.
2. The plugins are loaded; their dataclasses are the schema of ``modalities``, ``trunks``,
   ``objectives`` and ``tasks``.
3. The layers are laid over the schema leaf by leaf, and the result is checked as a whole.

Every problem of step 3 is reported in one error.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from spectranet.builtin import core_presets
from spectranet.config.checks import (
    core_problems,
    missing_name,
    option_paths,
    training_problems,
)
from spectranet.config.layers import COMMAND_LINE, Layer, read_layers
from spectranet.config.schema import Config, SourceConfig
from spectranet.config.typed import Overlay, Path, as_text
from spectranet.contracts import Preset
from spectranet.errors import ConfigError, PluginError, did_you_mean
from spectranet.plugin_messages import DEFAULT_CHOICE
from spectranet.plugins import (
    PluginHost,
    discover,
    first_party_bringing,
    installed_first_party,
)

__all__ = ["Resolved", "config_from_dict", "config_to_dict", "load_config", "source_options"]

_SECTIONS = {"modalities": "modality", "trunks": "trunk", "objectives": "objective", "tasks": "task"}
"""Section -> kind of thing that plugins bring. Objectives and tasks are on only where they are named."""

_ALWAYS_ON = ("modalities", "trunks")


@dataclass(frozen=True)
class Resolved:
    """A checked configuration, the plugins it is made for, and where its values come from.

    Attributes:
        config: the values; plugin sections hold instances of the plugins' dataclasses.
        host: the loaded plugins.
        provenance: dotted name of each leaf -> ``default``, ``plugin vision``, ``preset tiny``,
            ``file mine.yaml``, ``command line``.
        unused: dotted names of settings for modalities whose plugin is not loaded.
    """

    config: Config
    host: PluginHost
    provenance: Mapping[str, str]
    unused: tuple[str, ...] = ()

    def to_yaml(self) -> str:
        """YAML text that gives the same configuration when it is loaded as a file."""
        from spectranet.config.show import to_yaml

        return to_yaml(self)


def load_config(
    configs: Sequence[str] = (),
    overrides: Sequence[str] = (),
    plugins: Sequence[str] | None = None,
    *,
    training: bool = False,
) -> Resolved:
    """Read, merge and check.

    Args:
        configs: presets or YAML files, later ones win.
        overrides: ``a.b.c=value``, stronger than all files.
        plugins: what ``--plugins`` says; None leaves the choice to the configuration.
        training: also demand what only training needs, a source and an objective.

    Raises:
        ConfigError: with all problems.
        PluginError: a plugin cannot be used.
    """
    presets = _PresetFinder(plugins)
    layers = read_layers(configs, overrides, presets)
    host = _load_host(layers, plugins, presets.providers)
    return _resolve(layers, host, training, plugins is not None)


def config_to_dict(config: Config) -> dict[str, Any]:
    """Plain values, for JSON; :func:`config_from_dict` takes them back."""
    return asdict(config)


def config_from_dict(values: Mapping[str, Any], host: PluginHost | None = None) -> Resolved:
    """The configuration that :func:`config_to_dict` wrote, checked again.

    Args:
        values: plain values.
        host: loaded plugins; None loads those that ``values`` names.
    """
    layers = [Layer("stored configuration", dict(values))]
    return _resolve(layers, host or _load_host(layers, None, {}), False, False)


def source_options(config: Config, source: SourceConfig, modality: str) -> Any:
    """The options of one modality as ``source`` overrides them: a new instance of its dataclass."""
    options = config.modalities[modality]
    if not source.overrides.get(modality):
        return options
    overlay, node = Overlay(), OmegaConf.structured(options)
    overlay.lay(node, (), source.overrides[modality], "overrides")
    if overlay.problems:
        raise ConfigError(_report([(as_text(p), text, None) for p, text, _ in overlay.problems]))
    return OmegaConf.to_object(node)


class _PresetFinder:
    """Finds presets: the core's without loading anything, others by loading the chosen plugins."""

    def __init__(self, plugins: Sequence[str] | None) -> None:
        self._plugins = plugins
        self.providers: dict[str, str] = {}
        """Plugin -> why it is loaded: it brought a preset that is in use."""

    def __call__(self, name: str) -> Preset:
        known = {preset.name: preset for preset in core_presets()}
        if name not in known:
            host = _load_host([], self._plugins, {})
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


def _load_host(layers: Sequence[Layer], plugins: Sequence[str] | None, also: Mapping[str, str]) -> PluginHost:
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
        objective_plugins, where = Config().objective_plugins, "objective_plugins"
        installed = {info.name for info in infos}
        if not _enables_objectives(layers):
            # Nothing asks for them: a core with one modality can be used without.
            objective_plugins = [name for name in objective_plugins if name in installed]
    extra |= dict.fromkeys(objective_plugins, where)
    return PluginHost.load(named, origin, extra)


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


def _enables_objectives(layers: Sequence[Layer]) -> bool:
    sections = [layer.tree.get("objectives") for layer in layers]
    return any(value is not None for s in sections if isinstance(s, Mapping) for value in s.values())


def _resolve(layers: Sequence[Layer], host: PluginHost, training: bool, from_option: bool) -> Resolved:
    merger = _Merger(host)
    for layer in layers:
        merger.lay(layer)
    config = merger.finish()
    origins = _provenance(config, host, merger.overlay.provenance)
    chosen = {name for name in host.names if name not in config.objective_plugins}
    if config.plugins is None or from_option:
        # Written down, so that a stored configuration does not depend on what is installed.
        config.plugins = [*sorted(chosen)]
        origins["plugins"] = COMMAND_LINE if from_option else "default"
    problems: list[tuple[str, str, str | None]] = [
        (as_text(path), text, origin) for path, text, origin in merger.overlay.problems
    ]
    found = list(core_problems(config, host))
    found += training_problems(config) if training else []
    seen = {path for path, _, _ in problems}
    problems += [(path, text, origins.get(path)) for path, text in found if path not in seen]
    try:
        for plugin, some in host.each("spectranet_check_config", config=config):
            problems += [(f"plugin {plugin}", text, None) for text in some]
    except PluginError:
        # A check may stumble over a value that is already reported.
        if not problems:
            raise
    if problems:
        raise ConfigError(_report(problems))
    return Resolved(config, host, origins, tuple(merger.unused))


def _report(problems: Sequence[tuple[str, str, str | None]]) -> str:
    lines = [f"  {path}: {text}" + (f"  ({origin})" if origin else "") for path, text, origin in problems]
    count = "a problem" if len(lines) == 1 else f"{len(lines)} problems"
    return "\n".join([f"the configuration has {count}:", *dict.fromkeys(lines)])


class _Merger:
    """Lays layers over the schema of the core and of the loaded plugins."""

    def __init__(self, host: PluginHost) -> None:
        self._host = host
        self._core = OmegaConf.structured(Config)
        self._overrides: dict[tuple[Path, str], DictConfig] = {}
        """(source, modality) -> the modality's options, into which the source's values are laid."""
        self._plugin_nodes: dict[str, dict[str, DictConfig]] = {section: {} for section in _SECTIONS}
        self.unused: list[str] = []
        self.overlay = Overlay()
        self.overlay.elsewhere = self._find_elsewhere
        for section in _ALWAYS_ON:
            for name in getattr(host, section):
                self._plugin_nodes[section][name] = self._new_node(section, name)

    def lay(self, layer: Layer) -> None:
        plain: dict[str, Any] = {}
        for name, value in layer.tree.items():
            if name in _SECTIONS:
                for key, options in (self.overlay.section((name,), value, layer.origin) or {}).items():
                    self._lay_plugin_section(name, key, options, layer.origin)
            elif name in ("data", "eval") and isinstance(value, Mapping) and "sources" in value:
                self._lay_sources(name, value["sources"], layer.origin)
                plain[name] = {key: options for key, options in value.items() if key != "sources"}
            else:
                plain[name] = value
        self.overlay.lay(self._core, (), plain, layer.origin)

    def finish(self) -> Config:
        """The values as dataclass objects. Options that a dataclass itself refuses become problems."""
        config: Config = OmegaConf.to_object(self._core)  # type: ignore[assignment]
        for section, nodes in self._plugin_nodes.items():
            objects = getattr(config, section)
            for name in sorted(nodes):
                objects[name] = self._object((section, name), nodes[name])
        for (path, modality), node in self._overrides.items():
            source = getattr(config, path[0]).sources.get(path[-1])
            if source is not None:
                self._object((*path, "overrides", modality), node)
                source.overrides[modality] = self._laid_values((*path, "overrides", modality), node)
        return config

    def _object(self, path: Path, node: DictConfig) -> Any:
        try:
            return OmegaConf.to_object(node)
        except Exception as error:
            # __post_init__ of a plugin's dataclass may refuse a value with any exception.
            self.overlay.problem(path, f"{type(error).__name__}: {error}", "")
            options: Any = OmegaConf.get_type(node)
            return options()

    def _new_node(self, section: str, name: str) -> DictConfig:
        options = getattr(self._host, section)[name].config
        try:
            node: DictConfig = OmegaConf.structured(options)
        except OmegaConfBaseException as error:
            plugin = self._host.brought_by(_SECTIONS[section], name)
            raise PluginError(
                f"plugin '{plugin}' ({self._host.release(plugin)}): options {options.__name__} cannot be "
                f"configured:\n  {str(error).splitlines()[0]}"
            ) from error
        return node

    def _lay_plugin_section(self, section: str, name: str, value: Any, origin: str) -> None:
        kind, path = _SECTIONS[section], (section, name)
        if name not in getattr(self._host, section):
            plugin = first_party_bringing(kind, name)
            spare = plugin is not None and plugin not in self._host.names and origin != COMMAND_LINE
            if spare and (section in _ALWAYS_ON or value is None):
                # A preset speaks of every modality; whoever loads fewer plugins means to leave some out.
                self.unused.append(as_text(path))
            else:
                self.overlay.problem(path, missing_name(kind, name, self._host), origin)
            return
        nodes = self._plugin_nodes[section]
        if value is None and section not in _ALWAYS_ON:
            nodes.pop(name, None)
            self.overlay.forget(path)
            return
        options = self.overlay.section(path, value, origin)
        if options is not None:
            if name not in nodes:
                nodes[name] = self._new_node(section, name)
            self.overlay.lay(nodes[name], path, options, origin)

    def _lay_sources(self, section: str, value: Any, origin: str) -> None:
        nodes = self._core[section].sources
        for name, options in (self.overlay.section((section, "sources"), value, origin) or {}).items():
            path: Path = (section, "sources", name)
            if options is None:
                nodes.pop(name, None)
                self.overlay.forget(path)
                self._overrides = {key: node for key, node in self._overrides.items() if key[0] != path}
                continue
            options = self.overlay.section(path, options, origin)
            if options is None:
                continue
            if name not in nodes:
                nodes[name] = OmegaConf.structured(SourceConfig)
            self.overlay.lay(
                nodes[name], path, {k: v for k, v in options.items() if k != "overrides"}, origin
            )
            if "overrides" in options:
                self._lay_overrides(path, options["overrides"], origin)

    def _lay_overrides(self, source: Path, value: Any, origin: str) -> None:
        path = (*source, "overrides")
        for modality, options in (self.overlay.section(path, value, origin) or {}).items():
            options = self.overlay.section((*path, modality), options, origin)
            if options is None:
                continue
            if modality not in self._host.modalities:
                self.overlay.problem(
                    (*path, modality), missing_name("modality", modality, self._host), origin
                )
                continue
            node = self._overrides.setdefault((source, modality), self._new_node("modalities", modality))
            self.overlay.lay(node, (*path, modality), options, origin)

    def _laid_values(self, path: Path, node: DictConfig) -> dict[str, Any]:
        """Only what a source sets itself, as plain nested values."""
        values: dict[str, Any] = {}
        for leaf in self.overlay.provenance:
            if leaf[: len(path)] != path:
                continue
            inner, found = values, OmegaConf.to_container(node)
            *sections, name = leaf[len(path) :]
            for section in sections:
                inner, found = inner.setdefault(section, {}), found[section]  # type: ignore[index, call-overload]
            inner[name] = found[name]  # type: ignore[index, call-overload]
        return values

    def _find_elsewhere(self, name: str) -> str | None:
        """``layers`` -> ``model.decoder.layers``, if there is exactly one such option."""
        paths = [path for path in option_paths(Config()) if path.rpartition(".")[2] == name]
        return paths[0] if len(paths) == 1 else None


def _provenance(config: Config, host: PluginHost, laid: Mapping[Path, str]) -> dict[str, str]:
    """The origin of every leaf: what a layer laid there, else whose default it is."""
    origins = {}
    for path, _ in leaves(config):
        if path[0] in _SECTIONS and len(path) > 1:
            default = f"plugin {host.brought_by(_SECTIONS[path[0]], path[1])}"
        else:
            default = "default"
        origins[as_text(path)] = laid.get(path, default)
    return origins


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """(path, value) of every leaf of dataclasses and dictionaries; an empty dictionary is a leaf."""
    inside = vars(value) if is_dataclass(value) and not isinstance(value, type) else value
    if isinstance(inside, dict) and (inside or not path):
        for name, item in inside.items():
            yield from leaves(item, (*path, name))
    else:
        yield path, value
