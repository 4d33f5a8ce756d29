"""How does one value reach one typed option, and what is said when it does not fit?

A tree of plain values is laid over OmegaConf's structured nodes leaf by leaf, so that every problem
is found, not only the first. Values keep the type they have in YAML: ``'12'`` in quotes is text and
no number. A whole number is taken where a fraction or text is wanted, nothing else is converted.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, Union

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from spectranet.config.layers import COMMAND_LINE
from spectranet.config.plain_yaml import write_value
from spectranet.errors import did_you_mean

__all__ = ["Overlay", "Path", "as_text"]

Path = tuple[str, ...]


def as_text(path: Path) -> str:
    return ".".join(path)


class Overlay:
    """Lays values over typed nodes, noting where each leaf came from and what did not fit.

    Attributes:
        provenance: leaf -> origin of the value that it has now.
        problems: (path, sentence, origin), in the order found.
        elsewhere: finds an option of this name on another level, for the hint; set by the owner.
    """

    def __init__(self) -> None:
        self.provenance: dict[Path, str] = {}
        self.problems: list[tuple[Path, str, str]] = []
        self.elsewhere: Callable[[str], str | None] = lambda name: None

    def problem(self, path: Path, sentence: str, origin: str) -> None:
        self.problems.append((path, sentence, origin))

    def forget(self, path: Path) -> None:
        """The values at and under ``path`` are gone."""
        self.provenance = {p: o for p, o in self.provenance.items() if p[: len(path)] != path}

    def lay(self, node: DictConfig, path: Path, values: Mapping[str, Any], origin: str) -> None:
        """Lay a mapping over a section: a dataclass node."""
        hints = typing.get_type_hints(OmegaConf.get_type(node), include_extras=True)
        for name, value in values.items():
            if name not in node:
                self.unknown(path, name, [str(key) for key in node], origin)
            else:
                self._lay_option(node, (*path, name), value, hints[name], origin)

    def unknown(self, path: Path, name: str, known: list[str], origin: str) -> None:
        hint = did_you_mean(name, known)
        if not hint and (other := self.elsewhere(name)):
            hint = f" Did you mean '{other}'?"
        if not hint:
            hint = f" known: {', '.join(known)}"
        self.problem((*path, name), f"unknown option.{hint}", origin)

    def section(self, path: Path, value: Any, origin: str) -> Mapping[str, Any] | None:
        """``value`` if it is a mapping of options, else a problem and None."""
        if isinstance(value, Mapping):
            return value
        self.problem(path, f"is a section with options of its own, not {_shown(value)}", origin)
        return None

    def warn_if_idle(self, path: Path, value: Any, there: Sequence[Any], origin: str, *, drops: bool) -> None:
        """An empty section on the command line leaves what is ``there`` as it is: no one can mean that.

        In files it may stand, since a printed configuration has empty sections.

        Args:
            drops: whether null takes one of the section's entries away; else it has fixed options.
        """
        if value != {} or not there or origin != COMMAND_LINE:
            return
        example = as_text((*path, str(there[0])))
        way_out = f"to drop one: {example}=null" if drops else f"name an option: {example}=…"
        self.problem(path, f"{{}} changes nothing; {way_out}", origin)

    def _lay_option(self, node: DictConfig, path: Path, value: Any, hint: Any, origin: str) -> None:
        name = path[-1]
        dataclass_type = next((part for part in _parts(hint) if is_dataclass(part)), None)
        if dataclass_type is not None and value is not None:
            options = self.section(path, value, origin)
            if options is not None:
                if node[name] is not None:
                    self.warn_if_idle(path, value, list(node[name]), origin, drops=False)
                else:
                    node[name] = OmegaConf.structured(dataclass_type)
                self.lay(node[name], path, options, origin)
        elif typing.get_origin(hint) is dict:
            self._lay_entries(node, path, value, hint, origin)
        else:
            self._lay_leaf(node, path, value, hint, origin)

    def _lay_entries(self, node: DictConfig, path: Path, value: Any, hint: Any, origin: str) -> None:
        """Lay over a dictionary with free keys; null takes a key away."""
        entries = self.section(path, value, origin)
        element = typing.get_args(hint)[1]
        self.warn_if_idle(path, value, list(node[path[-1]]), origin, drops=True)
        for name, entry in (entries or {}).items():
            if entry is None and type(None) not in _parts(element):
                node[path[-1]].pop(name, None)
                self.forget((*path, name))
            else:
                self._lay_leaf(node[path[-1]], (*path, name), entry, element, origin)

    def _lay_leaf(self, node: DictConfig, path: Path, value: Any, hint: Any, origin: str) -> None:
        if _has_reference(value):
            self.problem(path, f"{_shown(value)} is a reference; write the value itself", origin)
            return
        try:
            value = _fitting(value, hint)
            node[path[-1]] = value
        except (OmegaConfBaseException, _MisfitError):
            self.problem(path, f"{_shown(value)} is not {_wanted(hint)}", origin)
        else:
            self.provenance[path] = origin


class _MisfitError(Exception):
    """A value cannot become what the option wants."""


def _parts(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a union; a type alone is its only alternative.

    ``Annotated[Any, str | list[str]]`` stands for a union that OmegaConf has no node for.
    """
    if typing.get_origin(hint) is typing.Annotated:
        hint = hint.__metadata__[0]
    if typing.get_origin(hint) in (Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def _fitting(value: Any, hint: Any) -> Any:
    """``value`` in the type of ``hint``, if nothing is lost; what is left to OmegaConf passes as it is."""
    parts = _parts(hint)
    if value is None:
        if type(None) not in parts and Any not in parts:
            raise _MisfitError
        return None
    lists = [part for part in parts if typing.get_origin(part) in (list, tuple)]
    if lists and (isinstance(value, list) or len(lists) == len(parts)):
        if not isinstance(value, list):
            raise _MisfitError
        return [_fitting(item, typing.get_args(lists[0])[0]) for item in value]
    if type(value) in parts or not {bool, int, float, str}.intersection(parts):
        return _finite(value)
    if type(value) is int and float in parts:
        return float(value)
    if type(value) is int and str in parts:
        return str(value)
    raise _MisfitError


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise _MisfitError
    return value


def _has_reference(value: Any) -> bool:
    """OmegaConf would look these up, in the environment too, or call them missing."""
    if isinstance(value, dict | list):
        return any(map(_has_reference, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and ("${" in value or value == "???")


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f"'{value}'" if len(value) <= 60 else f"'{value[:57]}…'"
    return f"{write_value(value):.60}"


_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}


def _wanted(hint: Any) -> str:
    names = []
    for part in _parts(hint):
        if typing.get_origin(part) in (list, tuple):
            names.append(f"a list of {_plural(typing.get_args(part)[0])}, such as [a, b]")
        elif typing.get_origin(part) is typing.Literal:
            names += [f"'{choice}'" for choice in typing.get_args(part)]
        else:
            names.append(_NAMES.get(part, getattr(part, "__name__", str(part))))
    return " or ".join(names)


def _plural(part: Any) -> str:
    return {int: "whole numbers", float: "numbers", str: "names"}.get(part, "values")
