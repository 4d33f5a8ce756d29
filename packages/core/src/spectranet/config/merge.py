"""How do defaults, presets, files and the command line become one checked configuration?

1. The layers are read without a schema, to learn which plugins they name.
2. The plugins are loaded; their dataclasses are the schema of ``modalities``, ``trunks``,
   ``objectives`` and ``tasks``.
3. The layers are laid over the schema leaf by leaf, and the result is checked as a whole.

Every problem of step 3 is reported in one error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from spectranet.config.checks import (
    core_problems,
    missing_name,
    option_paths,
    training_problems,
)
from spectranet.config.chosen import PresetFinder, load_host
from spectranet.config.layers import COMMAND_LINE, Layer, read_layers
from spectranet.config.schema import Config, SourceConfig
from spectranet.config.typed import Overlay, Path, as_text
from spectranet.errors import ConfigError, PluginError
from spectranet.plugins import (
    PluginHost,
    first_party_bringing,
)

__all__ = ["Resolved", "config_from_dict", "config_to_dict", "load_config", "merge_config", "source_options"]

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
        training: also demand what only a run needs: sources with paths, and an objective.

    Raises:
        ConfigError: with all problems.
        PluginError: a plugin cannot be used.
    """
    resolved, error = merge_config(configs, overrides, plugins, training=training)
    if error is not None:
        raise error
    return resolved


def merge_config(
    configs: Sequence[str] = (),
    overrides: Sequence[str] = (),
    plugins: Sequence[str] | None = None,
    *,
    training: bool = False,
) -> tuple[Resolved, ConfigError | None]:
    """As :func:`load_config`, but a configuration with problems comes back beside its error.

    Where a value does not fit, the result has the value of the layer below.
    """
    presets = PresetFinder(plugins, overrides)
    layers = read_layers(configs, overrides, presets)
    host = load_host(layers, plugins, presets.providers)
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
    resolved, error = _resolve(layers, host or load_host(layers, None, {}), False, False)
    if error is not None:
        raise error
    return resolved


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


def _resolve(
    layers: Sequence[Layer], host: PluginHost, training: bool, from_option: bool
) -> tuple[Resolved, ConfigError | None]:
    merger = _Merger(host)
    for layer in layers:
        merger.lay(layer)
    config = merger.finish()
    origins = _provenance(config, host, merger.overlay.provenance)
    # What was chosen is written down: a stored configuration must not depend on what is installed.
    if ("objective_plugins",) not in merger.overlay.provenance:
        config.objective_plugins = [name for name in config.objective_plugins if name in host.names]
    if config.plugins is None or from_option:
        config.plugins = [name for name in host.names if name not in config.objective_plugins]
        origins["plugins"] = COMMAND_LINE if from_option else "default"
    problems: list[tuple[str, str, str | None]] = [
        (as_text(path), text, origin) for path, text, origin in merger.overlay.problems
    ]
    found = list(core_problems(config, host))
    found += training_problems(config) if training else []
    seen = {path for path, _, _ in problems}
    problems += [(path, text, origins.get(path)) for path, text in found if path not in seen]
    try:
        for plugin, text in host.config_problems(config, training):
            problems.append((f"plugin {plugin}", text, None))
    except PluginError:
        # A check may stumble over a value that is already reported.
        if not problems:
            raise
    error = ConfigError(_report(problems)) if problems else None
    return Resolved(config, host, origins, tuple(merger.unused)), error


def _report(problems: Sequence[tuple[str, str, str | None]]) -> str:
    lines = []
    for path, text, origin in problems:
        # A plugin's sentence may go on in a second line.
        sentence = "\n    ".join(line.strip() for line in text.strip().splitlines())
        lines.append(f"  {path}: {sentence}" + (f"  ({origin})" if origin else ""))
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
                there = list(self._plugin_nodes[name])
                drops = name not in _ALWAYS_ON
                self.overlay.warn_if_idle((name,), value, there, layer.origin, drops=drops)
                for key, options in (self.overlay.section((name,), value, layer.origin) or {}).items():
                    self._lay_plugin_section(name, key, options, layer.origin)
            elif name in ("data", "eval") and isinstance(value, Mapping) and "sources" in value:
                self._lay_sources(name, value["sources"], layer.origin)
                if others := {key: options for key, options in value.items() if key != "sources"}:
                    plain[name] = others
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
        self.overlay.warn_if_idle((section, "sources"), value, list(nodes), origin, drops=True)
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
