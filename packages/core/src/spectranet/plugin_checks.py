"""Can an installed plugin be imported, and is what its module and its hooks give what the core asked for?

Every place where pluggy (or Python) is silent and a user needs words: an import that ends the process, a
misspelt hook, none at all, an answer of another type, options that cannot be configured.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, TypeVar

import pluggy

from spectranet import hookspecs
from spectranet import plugin_messages as messages
from spectranet.contracts import Objective
from spectranet.errors import PluginError
from spectranet.plugin_discovery import PluginInfo

__all__ = ["Loaded", "ask", "check_declaration", "check_hooks", "import_plugin", "listed"]

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Loaded:
    """An imported plugin, and who asked for it (``--plugins``, a config file, …)."""

    info: PluginInfo
    origin: str
    plugin: object


def import_plugin(info: PluginInfo, origin: str) -> Loaded:
    """Import one plugin's module.

    What it prints goes to stderr: stdout belongs to the command's answer, which may be YAML or JSON.

    Raises:
        PluginError: its import raised anything, ``SystemExit`` included (but not Ctrl-C).
    """
    assert info.entry_point is not None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return Loaded(info, origin, info.entry_point.load())
    except BaseException as error:
        if _is_ctrl_c(error):
            raise
        raise PluginError(messages.failed_to_import(info, origin, error)) from error


def ask(item: Loaded, hook: str, call: Callable[..., list[Any]], **arguments: Any) -> list[Any]:
    """What the implementations of a hook in one plugin answer; iterators are read to their end.

    Raises:
        PluginError: one raised anything (but not Ctrl-C), at its call or while it was read.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            answers = call(**arguments)
            return [list(each) if isinstance(each, Iterator) else each for each in answers]
    except BaseException as error:
        if _is_ctrl_c(error):
            raise
        raise PluginError(messages.failed_in_hook(item.info, item.origin, hook, error)) from error


def listed(item: Loaded, hook: str, answer: Any, cls: type[Thing]) -> list[Thing]:
    """An answer that is to be a list of ``cls``, checked.

    Raises:
        PluginError: it is something else.
    """
    function = getattr(item.plugin, hook, None)
    if not isinstance(answer, Iterable) or isinstance(answer, str | bytes):
        wanted = f"a list of {cls.__name__}"
        raise PluginError(messages.returned(item.info, hook, function, answer, wanted))
    things = list(answer)
    for thing in things:
        if not isinstance(thing, cls):
            raise PluginError(messages.returned(item.info, hook, function, thing, cls.__name__))
    return things


def check_declaration(item: Loaded, thing: Any) -> None:
    """Refuse a modality, objective or task whose options cannot be configured.

    Raises:
        PluginError: they are no dataclass, are frozen, or lack a default; or an objective's its weight.
    """
    owners: list[Any] = [thing, getattr(thing, "trunk", None)]
    for options in [owner.config for owner in owners if hasattr(owner, "config")]:
        flaw = _flaw_of_options(options)
        if not flaw and isinstance(thing, Objective) and "weight" not in {f.name for f in fields(options)}:
            flaw = "has no 'weight: float', the factor of its losses in the total loss"
        if flaw:
            raise PluginError(messages.unusable_options(item.info, thing, options, flaw))


def check_hooks(manager: pluggy.PluginManager, item: Loaded) -> None:
    """Refuse a plugin with a misspelt hook or argument of one, with an unmarked hook, or with none at all.

    Raises:
        PluginError: says which, and where it stands.
    """
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
        if hook in known:
            _check_arguments(item, hook, function, getattr(manager.hook, hook).spec.argnames)
        implemented += 1
    if not implemented:
        raise PluginError(messages.no_hook(item.info, known))


def _check_arguments(item: Loaded, hook: str, function: Any, known: Sequence[str]) -> None:
    for name in inspect.signature(function).parameters:
        if name not in known and not (name == "self" and inspect.isclass(item.plugin)):
            raise PluginError(messages.unknown_argument(item.info, hook, function, name, known))


def _is_ctrl_c(error: BaseException) -> bool:
    """Python raises exactly this; a class that a plugin derives from it is the plugin's failure."""
    return type(error) is KeyboardInterrupt


def _flaw_of_options(cls: Any) -> str | None:
    if not isinstance(cls, type) or not is_dataclass(cls):
        return "is not a dataclass"
    if cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return "is frozen; configuration sets its fields one by one"
    bare = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
    return f"has no default for {', '.join(bare)}" if bare else None
