"""Which plugins are installed, and which one does a name mean?

Entry-point metadata is read, nothing is imported. What is decided here is what importlib leaves open: unknown
names, two offers of one name, another API major, a sibling package that is not installed.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from spectranet import plugin_messages as messages
from spectranet.errors import PluginError

__all__ = [
    "CORE",
    "FIRST_PARTY",
    "PLUGIN_API",
    "FirstParty",
    "PluginInfo",
    "Remembered",
    "choose",
    "core_info",
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


@dataclass(frozen=True)
class Remembered:
    """A plugin that something was made with, such as a checkpoint, whether it is installed now or not."""

    distribution: str
    version: str
    by: str
    """What remembers it, as a path."""


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


def core_info() -> PluginInfo:
    """The core as a plugin of itself."""
    import spectranet

    return PluginInfo(CORE, "spectranet-core", spectranet.__version__, PLUGIN_API, "spectranet.builtin")


def installed_first_party(infos: Iterable[PluginInfo]) -> list[str]:
    """The default choice: names of the first-party plugins that are installed."""
    return sorted({info.name for info in infos if info.name in FIRST_PARTY and info.api == PLUGIN_API})


def first_party_bringing(kind: str, name: str) -> str | None:
    """The first-party plugin that brings a modality, trunk, objective or task, if one does."""
    plural = {"modality": "modalities"}.get(kind, f"{kind}s")
    return next((plugin for plugin, known in FIRST_PARTY.items() if name in getattr(known, plural)), None)


def choose(
    name: str, origin: str, infos: Sequence[PluginInfo], remembered: Mapping[str, Remembered] | None = None
) -> PluginInfo:
    """The one plugin that ``name`` means.

    Args:
        origin: who named it, for the message.
        remembered: plugins that may be gone; how to get one back is known then, whoever wrote it.

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
        raise PluginError(messages.other_api(offers[-1], core_info()))
    if stray := _stray(name):
        raise PluginError(messages.wrong_group(stray, f"{_GROUP}{PLUGIN_API}"))
    if remembered and name in remembered:
        raise PluginError(messages.uninstalled(name, remembered[name]))
    if name in FIRST_PARTY:
        raise PluginError(messages.not_installed(name, FIRST_PARTY[name].distribution))
    installed = sorted({info.name for info in infos})
    raise PluginError(messages.unknown(name, origin, installed, FIRST_PARTY))


def _stray(name: str) -> importlib.metadata.EntryPoint | None:
    """An entry point of that name in a group that only looks like ours; its plugin would be unknown."""
    points = importlib.metadata.entry_points(name=name)
    return next((point for point in points if point.group.startswith("spectranet")), None)
