"""The chosen plugins, loaded, and everything that they bring.

Of the plugins found (:mod:`spectranet.plugin_discovery`) only the chosen ones are imported and checked
(:mod:`spectranet.plugin_checks`). pluggy keeps the calls; here is decided in which order plugins are called,
and that no name is claimed twice. The words of all of it are in :mod:`spectranet.plugin_messages`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

from spectranet import hookspecs
from spectranet import plugin_messages as messages
from spectranet.builtin import Builtin
from spectranet.contracts import Modality, Objective, Preset, Reader, Task, Trunk
from spectranet.errors import PluginError
from spectranet.plugin_checks import (
    Loaded,
    ask,
    check_declaration,
    check_hooks,
    import_plugin,
    listed,
)
from spectranet.plugin_discovery import (
    CORE,
    FIRST_PARTY,
    PLUGIN_API,
    FirstParty,
    PluginInfo,
    Remembered,
    choose,
    core_info,
    discover,
    first_party_bringing,
    installed_first_party,
)

if TYPE_CHECKING:
    import click

__all__ = [
    "FIRST_PARTY",
    "PLUGIN_API",
    "FirstParty",
    "PluginHost",
    "PluginInfo",
    "choose",
    "discover",
    "first_party_bringing",
    "import_plugin",
    "installed_first_party",
]


class PluginHost:
    """The chosen plugins and everything that they bring.

    Attributes:
        modalities, objectives, tasks, readers, presets, trunks: by name, sorted.
        hook: pluggy's caller; implementations run in the order of their plugins' names, the
            core's own first.
    """

    modalities: dict[str, Modality]
    objectives: dict[str, Objective]
    tasks: dict[str, Task]
    readers: dict[str, Reader]
    presets: dict[str, Preset]
    trunks: dict[str, Trunk]

    def __init__(self, loaded: Sequence[Loaded]) -> None:
        self._manager = pluggy.PluginManager("spectranet")
        self._manager.add_hookspecs(hookspecs)
        self._owner: dict[tuple[str, str], str] = {}
        core = Loaded(core_info(), "the core", Builtin())
        self._loaded = [core, *loaded]
        # pluggy calls the last registered first; registering backwards gives the order of names.
        for item in sorted(loaded, key=lambda item: item.info.name, reverse=True):
            self._register(item)
        self._register(core)
        self.hook = self._manager.hook

    @classmethod
    def load(
        cls,
        names: Iterable[str],
        origin: str = "--plugins",
        extra: Mapping[str, str] | None = None,
        remembered: Callable[[], Mapping[str, Remembered]] | None = None,
    ) -> PluginHost:
        """Import the named plugins, and no other.

        Args:
            names: names of entry points.
            origin: who named them, for messages.
            extra: more names, each with its own origin.
            remembered: asked where a name is unknown: plugins that were there once, by name.

        Raises:
            PluginError: with every name that cannot be found, or the first that cannot be loaded.
        """
        wanted = dict.fromkeys((name for name in names), origin)
        for name, where in (extra or {}).items():
            wanted.setdefault(name, where)
        infos = discover()
        known = {info.name for info in infos}
        once = remembered() if remembered and not known.issuperset(wanted) else {}
        chosen, problems = [], []
        for name, where in wanted.items():
            try:
                chosen.append((choose(name, where, infos, once), where))
            except PluginError as error:
                problems.append(str(error))
        if problems:
            raise PluginError("\n".join(problems))
        host = cls([import_plugin(info, where) for info, where in chosen])
        host._collect()
        return host

    @property
    def names(self) -> list[str]:
        """The chosen plugins' names, sorted; without the core's own."""
        return sorted(item.info.name for item in self._loaded if item.info.name != CORE)

    @property
    def releases(self) -> dict[str, str]:
        """Plugin -> ``spectranet-vision 0.1.0``: distribution and version; the core's own with them."""
        return {item.info.name: item.info.release for item in self._loaded}

    def brought_by(self, kind: str, name: str) -> str:
        """The plugin that brings the modality, objective, task, reader, preset or trunk ``name``."""
        return self._owner[kind, name]

    def release(self, plugin: str) -> str:
        """``spectranet-vision 0.1.0``: distribution and version of a loaded plugin."""
        return self.releases[plugin]

    def describe(self) -> list[dict[str, Any]]:
        """One JSON-able record per plugin: name, distribution, version, API and what it brings."""
        records = []
        for item in sorted(self._loaded, key=lambda item: item.info.name):
            info = item.info
            record: dict[str, Any] = {
                "name": info.name,
                "distribution": info.distribution,
                "version": info.version,
                "api": info.api,
            }
            for kind, (_, _, plural) in _KINDS.items():
                record[plural] = self._brought(info.name, kind)
            records.append(record | {"trunks": self._brought(info.name, "trunk")})
        return records

    def digest(self) -> str:
        """SHA-256 over (name, distribution, version) of all plugins; ranks and checkpoints compare it."""
        parts = sorted((i.info.name, i.info.distribution, i.info.version) for i in self._loaded)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def callers(self, hook: str) -> dict[str, Callable[..., Any]]:
        """Plugin -> how to call its own implementation of a hook, for those that have one."""
        return {
            item.info.name: self._caller(item, hook)
            for item in self._loaded
            if any(each.plugin is item.plugin for each in getattr(self.hook, hook).get_hookimpls())
        }

    def config_problems(self, config: Any, training: bool) -> Iterator[tuple[str, str]]:
        """(plugin, sentence) for everything that plugins find wrong with a merged configuration.

        Raises:
            PluginError: a check raised, or answered with something else than sentences.
        """
        hook = "spectranet_check_config"
        for item in self._in_order():
            for answer in self._call(item, hook, config=config, training=training):
                yield from ((item.info.name, text) for text in listed(item, hook, answer, str))

    def commands(self) -> list[click.Command]:
        """The commands that the plugins add to ``spectranet``.

        Raises:
            PluginError: a plugin raised, or answered with something else than commands.
        """
        import click

        hook = "spectranet_commands"
        return [
            command
            for item in self._in_order()
            for answer in self._call(item, hook)
            for command in listed(item, hook, answer, click.Command)
        ]

    def _in_order(self) -> list[Loaded]:
        """The core first, then by name."""
        return sorted(self._loaded, key=lambda item: (item.info.name != CORE, item.info.name))

    def _register(self, item: Loaded) -> None:
        if item.info.name == CORE and item.info != core_info():
            raise PluginError(messages.reserved(item.info))
        if twin := self._manager.get_name(item.plugin):
            raise PluginError(messages.same_module(item.info, twin))
        try:
            check_hooks(self._manager, item)
            self._manager.register(item.plugin, name=item.info.name)
        except PluginError:
            raise
        except Exception as error:  # pluggy reads every attribute, and some may not be readable
            raise PluginError(messages.refused(item.info, item.origin, error)) from error

    def _call(self, item: Loaded, hook: str, **arguments: Any) -> list[Any]:
        return ask(item, hook, self._caller(item, hook), **arguments)

    def _caller(self, item: Loaded, hook: str) -> Callable[..., Any]:
        others = [other.plugin for other in self._loaded if other is not item]
        return self._manager.subset_hook_caller(hook, others)

    def _collect(self) -> None:
        problems: list[str] = []
        for kind, (hook, cls, plural) in _KINDS.items():
            setattr(self, plural, self._claims(kind, self._declared(hook, cls), problems))
        trunks = [(item, m.trunk) for item, m in self._declared("spectranet_modalities", Modality) if m.trunk]
        shared = list({(item.info.name, trunk): (item, trunk) for item, trunk in trunks}.values())
        self.trunks = self._claims("trunk", shared, problems)
        if problems:
            raise PluginError("\n".join(problems))

    def _declared(self, hook: str, cls: type[Any]) -> list[tuple[Loaded, Any]]:
        """What each plugin returns from ``hook``, each thing checked to be a ``cls``."""
        declared: list[tuple[Loaded, Any]] = []
        for item in self._loaded:
            for answer in self._call(item, hook):
                for thing in listed(item, hook, answer, cls):
                    check_declaration(item, thing)
                    declared.append((item, thing))
        return declared

    def _claims(self, kind: str, declared: list[tuple[Loaded, Any]], problems: list[str]) -> dict[str, Any]:
        claims: dict[str, list[tuple[Loaded, Any]]] = {}
        for item, thing in declared:
            claims.setdefault(thing.name, []).append((item, thing))
        for name, claimants in claims.items():
            if len(claimants) > 1:
                infos = [(item.info, item.origin) for item, _ in claimants]
                problems.append(messages.claimed(kind, name, infos, CORE))
            self._owner[kind, name] = claimants[0][0].info.name
        return {name: claims[name][0][1] for name in sorted(claims)}

    def _brought(self, plugin: str, kind: str) -> list[str]:
        return sorted(name for (k, name), owner in self._owner.items() if (k, owner) == (kind, plugin))


_KINDS: Mapping[str, tuple[str, type, str]] = {
    "modality": ("spectranet_modalities", Modality, "modalities"),
    "objective": ("spectranet_objectives", Objective, "objectives"),
    "task": ("spectranet_tasks", Task, "tasks"),
    "reader": ("spectranet_readers", Reader, "readers"),
    "preset": ("spectranet_presets", Preset, "presets"),
}
"""kind -> (hook, class, attribute of the host)."""
