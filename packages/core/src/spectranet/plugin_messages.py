"""What is said of a plugin that cannot be used: who, what, and the next command.

Functions of facts, no decisions. Lines after the first are indented by two; the command line puts ``error:``
before the first.
"""

from __future__ import annotations

import textwrap
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectranet.errors import did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from spectranet.plugin_discovery import PluginInfo, Remembered

DEFAULT_CHOICE = "the default choice"
"""Origin of plugins that nobody named."""

_WIDTH = 100


def install_command(distribution: str) -> str:
    return f"python -m pip install {distribution}"


def unknown(name: str, origin: str, installed: Sequence[str], first_party: Iterable[str]) -> str:
    hint = did_you_mean(_bare(name), {*installed, *first_party})
    return f"unknown plugin '{name}' (from {origin}).{hint}\n{_names('installed', installed)}"


def not_installed(name: str, distribution: str) -> str:
    return f"plugin '{name}' is not installed.\n  install it:  {install_command(distribution)}"


def uninstalled(name: str, then: Remembered) -> str:
    release = f"{then.distribution} {then.version}"
    return (
        f"plugin '{name}' is not installed; {then.by} was trained with it ({release}).\n"
        f"  install it:  {install_command(f'{then.distribution}=={then.version}')}"
    )


def other_api(info: PluginInfo, core: PluginInfo) -> str:
    older = info if info.api < core.api else core
    return (
        f"{_who(info)} targets plugin API v{info.api}; {core.release} provides v{core.api}.\n"
        f"  look for a newer one:  {install_command('--upgrade ' + older.distribution)}"
    )


def wrong_group(point: EntryPoint, group: str) -> str:
    release = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown distribution"
    return (
        f"plugin '{point.name}' ({release}) is offered in the entry-point group '{point.group}', "
        "which is not read.\n"
        f'  name the group [project.entry-points."{group}"] in its pyproject.toml, and install it again'
    )


def offered_twice(name: str, infos: Sequence[PluginInfo]) -> str:
    rows = _columns([[info.release, f"({info.target})"] for info in infos])
    spare = next((i for i in infos if not i.distribution.startswith("spectranet-")), infos[-1])
    return "\n".join(
        [
            f"plugin '{name}' is offered by {_count(infos)} distributions:",
            *rows,
            f"  uninstall all but one of them:  python -m pip uninstall {spare.distribution}",
        ]
    )


def differ_between_ranks(differing: Mapping[str, Mapping[str, Sequence[int]]]) -> str:
    """
    Args:
        differing: plugin -> distribution and version -> the ranks that have it; "" where it is not loaded.
    """
    rows = [
        [name, release or "not loaded", f"on {_ranks(ranks)}"]
        for name, ranks_with in differing.items()
        for release, ranks in ranks_with.items()
    ]
    pinned = next(release for _, release, _ in rows if release != "not loaded").replace(" ", "==")
    return "\n".join(
        [
            "ranks have loaded different plugins:",
            *_columns(rows),
            f"  install the same on every machine:  {install_command(pinned)}",
        ]
    )


def claimed(kind: str, name: str, claimants: Sequence[tuple[PluginInfo, str]], core: str) -> str:
    """Two plugins bring the same name, or one brings it twice."""
    infos = list({info.name: info for info, _ in claimants}.values())
    if len(infos) == 1:
        return f"{_who(infos[0])} declares {kind} '{name}' twice."
    rows = _columns([[info.name, info.release, f"({info.target})"] for info in infos])
    others = [info.name for info in infos if info.name != core]
    last = "keep one of them in --plugins."
    if len(others) < len(infos):
        last = f"drop {' and '.join(map(repr, others))} from --plugins."
    return "\n".join([f"{kind} '{name}' is claimed by {_count(infos)} plugins:", *rows, f"  {last}"])


def failed_to_import(info: PluginInfo, origin: str, error: BaseException) -> str:
    return _failed(info, origin, "failed to import", error)


def failed_in_hook(info: PluginInfo, origin: str, hook: str, error: BaseException) -> str:
    return _failed(info, origin, f"failed in its hook {hook}", error)


def _failed(info: PluginInfo, origin: str, what: str, error: BaseException) -> str:
    drop = f"drop '{info.name}' from {origin}"
    if origin == DEFAULT_CHOICE:
        drop = f"name the others in --plugins, without '{info.name}'"
    return "\n".join(
        [
            f"{_who(info)} {what}:",
            f"  {_one_line(error)}",
            f"  at {_place(error, info)}",
            f"  full traceback: SPECTRANET_DEBUG=1; or {drop}",
        ]
    )


def refused(info: PluginInfo, origin: str, error: BaseException) -> str:
    return _failed(info, origin, "cannot be registered", error)


def reserved(info: PluginInfo) -> str:
    return f"{_who(info)} has a name that belongs to the core itself; its author has to choose another."


def same_module(info: PluginInfo, twin: str) -> str:
    return (
        f"plugins '{info.name}' and '{twin}' ({info.release}) are one module, {info.target}.\n"
        "  keep one of them in --plugins."
    )


def unknown_hook(info: PluginInfo, hook: str, function: Any, known: Sequence[str]) -> str:
    hint = did_you_mean(hook, known)
    lines = [
        f"{_who(info)} implements an unknown hook '{hook}'.{hint}",
        f"  at {_defined_at(function, info)}",
    ]
    newer = f"  if it is of a newer core:  {install_command('--upgrade spectranet-core')}"
    return "\n".join(lines if hint else [*lines, _names("hooks", known), newer])


def unknown_argument(info: PluginInfo, hook: str, function: Any, name: str, known: Sequence[str]) -> str:
    hint = did_you_mean(name, known)
    return "\n".join(
        [
            f"{_who(info)} asks for an argument '{name}' that {hook} does not have.{hint}",
            f"  at {_defined_at(function, info)}",
            _names("arguments", known),
        ]
    )


def unmarked_hook(info: PluginInfo, function: Callable[..., Any]) -> str:
    return "\n".join(
        [
            f"{_who(info)} has a function '{function.__name__}' that is not marked as a hook.",
            f"  at {_defined_at(function, info)}",
            "  put @spectranet.hookimpl above it",
        ]
    )


def no_hook(info: PluginInfo, known: Sequence[str]) -> str:
    return "\n".join(
        [
            f"{_who(info)} implements no hook.",
            f"  {info.target} needs at least one function marked @spectranet.hookimpl",
            _names("hooks", known),
        ]
    )


def returned(info: PluginInfo, hook: str, function: Any, thing: object, wanted: str) -> str:
    return (
        f"{_who(info)} returned {type(thing).__name__} {thing!r:.60} from {hook}, which wants {wanted}.\n"
        f"  at {_defined_at(function, info)}"
    )


def unusable_options(info: PluginInfo, thing: Any, options: Any, flaw: str) -> str:
    name = getattr(options, "__name__", repr(options))
    return f"{_who(info)}: the options {name} of {type(thing).__name__} '{thing.name}': {name} {flaw}."


def _names(what: str, names: Sequence[str]) -> str:
    """``  installed: audio, text``, folded where it is long."""
    line = f"  {what}: {', '.join(names) or 'none'}"
    return textwrap.fill(line, _WIDTH, subsequent_indent="    ", break_long_words=False)


def _who(info: PluginInfo) -> str:
    return f"plugin '{info.name}' ({info.release})"


def _bare(name: str) -> str:
    """``spectranet-vision`` and ``spectranet_vision`` are near misses of ``vision``."""
    return name.lower().removeprefix("spectranet").lstrip("-_") or name


def _ranks(ranks: Sequence[int]) -> str:
    """``rank 3``, ``ranks 0, 1``, and of many the first and how many there are."""
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    return (
        f"ranks {', '.join(map(str, ranks))}" if len(ranks) < 9 else f"{len(ranks)} ranks from {ranks[0]} on"
    )


def _count(things: Sequence[object]) -> str:
    return "two" if len(things) == 2 else str(len(things))


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, indented by two, with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _one_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def _place(error: BaseException, info: PluginInfo) -> str:
    """``spectranet_audio/plugin.py:3``: the innermost line of the plugin on the way to the error."""
    package = info.target.partition(":")[0].partition(".")[0]
    place = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == package:
            place = f"{_inside(frame.f_code.co_filename, package)}:{line}"
    if isinstance(error, SyntaxError) and error.filename:
        # A module that does not compile has no frame; the error itself knows where.
        inside = _inside(error.filename, package)
        if inside.partition("/")[0].removesuffix(".py") == package:
            place = f"{inside}:{error.lineno}"
    return place or f"entry point {info.name} = {info.target}"


def _defined_at(function: Any, info: PluginInfo) -> str:
    package = info.target.partition(":")[0].partition(".")[0]
    code = getattr(function, "__code__", None)
    return f"{_inside(code.co_filename, package)}:{code.co_firstlineno}" if code else info.target


def _inside(filename: str, package: str) -> str:
    """The path from the package's folder on; a single-module plugin keeps its file name."""
    parts = Path(filename).parts
    if package not in parts:
        return Path(filename).name
    start = len(parts) - 1 - parts[::-1].index(package)
    return "/".join(parts[start:])
