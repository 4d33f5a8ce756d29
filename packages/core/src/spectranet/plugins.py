"""How are plugins found, chosen, loaded and checked?

Discovery reads entry-point metadata and imports nothing. Of the plugins found, only the chosen ones
are imported. pluggy keeps the calls; every place where it (or Python) is silent and a user needs
words is decided here: unknown names, two offers of one name, another API major, a failing import,
a misspelt hook, a name claimed twice. The words themselves are in :mod:`spectranet.plugin_messages`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import pluggy

from spectranet import hookspecs
from spectranet import plugin_messages as messages
from spectranet.builtin import Builtin
from spectranet.contracts import Modality, Objective, Preset, Reader, Task, Trunk
from spectranet.errors import PluginError

if TYPE_CHECKING:
    import click

__all__ = [
    "FIRST_PARTY",
    "PLUGIN_API",
    "FirstParty",
    "PluginHost",
    "PluginInfo",
    "discover",
    "first_party_bringing",
    "installed_first_party",
]

PLUGIN_API = 1
"""Major version of the contracts; it is part of the entry-point group's name."""

_GROUP = "spectranet.plugins.v"
CORE = "core"


@dataclass(frozen=True)
class FirstParty:
    """What the core knows of a sibling package without importing it, so that it can name it."""

    distribution: str
    modalities: tuple[str, ...] = ()
    trunks: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    commands: Mapping[str, str] = field(default_factory=dict)
    """Name -> line of help, so that ``spectranet --help`` need not import the plugin."""


FIRST_PARTY: Mapping[str, FirstParty] = {
    "audio": FirstParty("spectranet-audio", modalities=("audio",)),
    "objectives": FirstParty(
        "spectranet-objectives",
        objectives=("captioning", "contrastive", "mmm", "temporal"),
        tasks=("retrieval",),
    ),
    "text": FirstParty(
        "spectranet-text",
        modalities=("text",),
        commands={"tokenizer": "Make the vocabulary that turns text into pieces."},
    ),
    "vision": FirstParty("spectranet-vision", modalities=("image", "video"), trunks=("vit",)),
}


@dataclass(frozen=True)
class PluginInfo:
    """What metadata says of one plugin."""

    name: str
    distribution: str
    version: str
    api: int
    target: str
    """``module`` or ``module:object``, as the entry point has it."""
    entry_point: importlib.metadata.EntryPoint | None = field(default=None, repr=False, compare=False)

    @property
    def release(self) -> str:
        return f"{self.distribution} {self.version}"


def discover() -> list[PluginInfo]:
    """Every installed plugin of every API major, sorted by name; nothing is imported."""
    entry_points = importlib.metadata.entry_points()
    found = []
    for group in sorted(entry_points.groups):
        major = group.removeprefix(_GROUP)
        if not group.startswith(_GROUP) or not major.isdecimal():
            continue
        for point in entry_points.select(group=group):
            distribution = getattr(point.dist, "name", None) or "unknown distribution"
            version = getattr(point.dist, "version", None) or "?"
            found.append(PluginInfo(point.name, distribution, version, int(major), point.value, point))
    return sorted(found, key=lambda info: (info.name, info.api, info.distribution))


def installed_first_party(infos: Iterable[PluginInfo]) -> list[str]:
    """The default choice: names of the first-party plugins that are installed."""
    return sorted({info.name for info in infos if info.name in FIRST_PARTY and info.api == PLUGIN_API})


def first_party_bringing(kind: str, name: str) -> str | None:
    """The first-party plugin that brings a modality, trunk, objective or task, if one does."""
    plural = {"modality": "modalities"}.get(kind, f"{kind}s")
    return next((plugin for plugin, known in FIRST_PARTY.items() if name in getattr(known, plural)), None)


@dataclass(frozen=True)
class Loaded:
    """An imported plugin, and who asked for it (``--plugins``, a config file, …)."""

    info: PluginInfo
    origin: str
    plugin: object


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
        core = Loaded(_core_info(), "the core", Builtin())
        self._loaded = [core, *loaded]
        # pluggy calls the last registered first; registering backwards gives the order of names.
        for item in sorted(loaded, key=lambda item: item.info.name, reverse=True):
            self._register(item)
        self._register(core)
        self.hook = self._manager.hook

    @classmethod
    def load(
        cls, names: Iterable[str], origin: str = "--plugins", extra: Mapping[str, str] | None = None
    ) -> PluginHost:
        """Import the named plugins, and no other.

        Args:
            names: names of entry points.
            origin: who named them, for messages.
            extra: more names, each with its own origin.

        Raises:
            PluginError: with every name that cannot be found, or the first that cannot be loaded.
        """
        wanted = dict.fromkeys((name for name in names), origin)
        for name, where in (extra or {}).items():
            wanted.setdefault(name, where)
        infos = discover()
        chosen, problems = [], []
        for name, where in wanted.items():
            try:
                chosen.append((choose(name, where, infos), where))
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

    def brought_by(self, kind: str, name: str) -> str:
        """The plugin that brings the modality, objective, task, reader, preset or trunk ``name``."""
        return self._owner[kind, name]

    def release(self, plugin: str) -> str:
        """``spectranet-vision 0.1.0``: distribution and version of a loaded plugin."""
        return next(item.info.release for item in self._loaded if item.info.name == plugin)

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

    def each(self, hook: str, **arguments: Any) -> Iterator[tuple[str, Any]]:
        """Call a hook plugin by plugin: (plugin name, result), in the order of names.

        Raises:
            PluginError: an implementation raised; says which and where.
        """
        for item in sorted(self._loaded, key=lambda item: (item.info.name != CORE, item.info.name)):
            for result in self._call(item, hook, **arguments):
                yield item.info.name, result

    def callers(self, hook: str) -> dict[str, Callable[..., Any]]:
        """Plugin -> how to call its own implementation of a hook, for those that have one."""
        return {
            item.info.name: self._caller(item, hook)
            for item in self._loaded
            if any(each.plugin is item.plugin for each in getattr(self.hook, hook).get_hookimpls())
        }

    def commands(self) -> list[click.Command]:
        """The commands that the plugins add to ``spectranet``."""
        return [command for _, some in self.each("spectranet_commands") for command in some]

    def _register(self, item: Loaded) -> None:
        _check_hook_names(self._manager, item)
        try:
            self._manager.register(item.plugin, name=item.info.name)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(messages.refused(item.info, str(error))) from error

    def _call(self, item: Loaded, hook: str, **arguments: Any) -> list[Any]:
        try:
            results: list[Any] = self._caller(item, hook)(**arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise PluginError(messages.failed_in_hook(item.info, hook, error)) from error
        return results

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

    def _declared(self, hook: str, cls: type) -> list[tuple[Loaded, Any]]:
        """What each plugin returns from ``hook``, each thing checked to be a ``cls``."""
        declared = []
        for item in self._loaded:
            for some in self._call(item, hook):
                if not isinstance(some, Iterable) or isinstance(some, str):
                    raise PluginError(messages.returned(item.info, hook, some, f"a list of {cls.__name__}"))
                for thing in some:
                    if not isinstance(thing, cls):
                        raise PluginError(messages.returned(item.info, hook, thing, cls.__name__))
                    for options in _options_of(thing):
                        if flaw := _flaw_of_options(options):
                            raise PluginError(messages.unusable_options(item.info, thing, options, flaw))
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


def choose(name: str, origin: str, infos: Sequence[PluginInfo]) -> PluginInfo:
    """The one plugin that ``name`` means.

    Raises:
        PluginError: none does, several do, or it is for another API major.
    """
    offers = [info for info in infos if info.name == name]
    current = [info for info in offers if info.api == PLUGIN_API]
    if len(current) == 1:
        return current[0]
    if current:
        raise PluginError(messages.offered_twice(name, current))
    if offers:
        raise PluginError(messages.other_api(offers[-1], _core_info()))
    if name in FIRST_PARTY:
        raise PluginError(messages.not_installed(name, FIRST_PARTY[name].distribution))
    installed = sorted({info.name for info in infos})
    raise PluginError(messages.unknown(name, origin, installed, FIRST_PARTY))


def import_plugin(info: PluginInfo, origin: str) -> Loaded:
    """Import one plugin's module.

    Raises:
        PluginError: its import raised anything, ``SystemExit`` included (but not Ctrl-C).
    """
    assert info.entry_point is not None
    try:
        return Loaded(info, origin, info.entry_point.load())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(messages.failed_to_import(info, origin, error)) from error


def _core_info() -> PluginInfo:
    import spectranet

    return PluginInfo(CORE, "spectranet-core", spectranet.__version__, PLUGIN_API, "spectranet.builtin")


def _check_hook_names(manager: pluggy.PluginManager, item: Loaded) -> None:
    """Refuse a plugin with a misspelt hook, with an unmarked one, or with none at all."""
    known = [name for name in dir(hookspecs) if name.startswith("spectranet_")]
    module = getattr(item.plugin, "__name__", None)
    implemented = 0
    for name in dir(item.plugin):
        options = manager.parse_hookimpl_opts(item.plugin, name)
        function = getattr(item.plugin, name, None)
        if options is None:
            if not inspect.isfunction(function) or function.__module__ != module:
                continue
            if name.startswith("spectranet_"):
                raise PluginError(messages.unmarked_hook(item.info, function))
            continue
        hook = options["specname"] or name
        if hook not in known and not options["optionalhook"]:
            raise PluginError(messages.unknown_hook(item.info, hook, function, known))
        implemented += 1
    if not implemented:
        raise PluginError(messages.no_hook(item.info, known))


def _options_of(thing: Any) -> list[type]:
    """The option dataclasses that a declaration carries: its own, and its trunk's."""
    owners: list[Any] = [thing, getattr(thing, "trunk", None)]
    return [owner.config for owner in owners if hasattr(owner, "config")]


def _flaw_of_options(cls: Any) -> str | None:
    if not isinstance(cls, type) or not is_dataclass(cls):
        return "is not a dataclass"
    if cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return "is frozen; configuration sets its fields one by one"
    bare = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
    return f"has no default for {', '.join(bare)}" if bare else None
