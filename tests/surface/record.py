"""What may a plugin rely on? Reads the public surface of contract v1, compares it with the recorded one.

    python tests/surface/record.py           # write down what is new
    python tests/surface/record.py --show    # print the surface as it is now

The surface is every name in ``spectranet.__all__``, every hook, and what a plugin's tests take from
``spectranet.testing``. It only grows: what is recorded in
``v1.json`` stays as it is, since published plugins rely on it and nobody here can edit those. This program
adds, and refuses to write down a break. Why: docs/authors/compatibility.md
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pluggy

import spectranet
from spectranet import hookspecs, testing

RECORDED = Path(__file__).parent / "v1.json"

SETTINGS = {"Config", "SourceConfig"}
"""Plugins read these and never make one: the order of fields is ours, and new ones may come anywhere."""

WRITTEN_BY_PLUGINS = {"SampleSet"}
"""Plugins implement these: a method more would be missing in theirs."""

Entry = dict[str, Any]
Surface = dict[str, dict[str, Entry]]


def read_surface() -> Surface:
    """Section -> name -> what it is; parts of it in the order in which they are written."""
    names = {name: _described(getattr(spectranet, name)) for name in sorted(spectranet.__all__)}
    hooks = {
        name: {"kind": "hook", "arguments": dict.fromkeys(_hook_arguments(name), "argument")}
        for name in sorted(vars(hookspecs))
        if name.startswith("spectranet_")
    }
    kit = {name: _described(getattr(testing, name)) for name in sorted(testing.__all__)}
    return {"names": names, "hooks": hooks, "kit": kit}


def _described(thing: Any) -> Entry:
    if inspect.isfunction(thing):
        return {"kind": "function", "arguments": _arguments(thing)}
    if not inspect.isclass(thing):
        return {"kind": type(thing).__name__}
    if issubclass(thing, Exception):
        ours = [base.__name__ for base in thing.__mro__[1:] if base not in (object, BaseException)]
        return {"kind": "exception", "bases": dict.fromkeys(ours, "base"), "members": _members(thing)}
    if thing.__name__.endswith("Conformance"):
        return {"kind": "conformance", "fields": _settings(thing)}
    members = {"members": found} if (found := _members(thing)) else {}
    if dataclasses.is_dataclass(thing):
        frozen = thing.__dataclass_params__.frozen  # type: ignore[attr-defined]
        return {"kind": "dataclass", "frozen": frozen, "fields": _fields(thing), **members}
    return {"kind": "protocol" if getattr(thing, "_is_protocol", False) else "class", **members}


def _fields(cls: Any) -> dict[str, str]:
    nothing = dataclasses.MISSING
    return {
        each.name: ("by name, " if each.kw_only else "")
        + ("required" if each.default is nothing and each.default_factory is nothing else "optional")
        for each in dataclasses.fields(cls)
        if each.init
    }


def _settings(suite: type) -> dict[str, str]:
    """What a suite of the kit lets its subclass set: the attributes that it declares."""
    declared = [name for base in suite.__mro__ for name in vars(base).get("__annotations__", {})]
    return {
        name: f"by name, {'optional' if hasattr(suite, name) else 'required'}"
        for name in sorted(set(declared))
        if not name.startswith("_") and name != "kind"  # which is the suite's own
    }


def _arguments(function: Any) -> dict[str, str]:
    found = {}
    for name, each in inspect.signature(function).parameters.items():
        by_name = "by name, " if each.kind is each.KEYWORD_ONLY else ""
        open_ended = each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        found[name] = by_name + ("required" if each.default is each.empty and not open_ended else "optional")
    return found


def _members(cls: type) -> dict[str, Any]:
    """Public methods, properties and plain values that the class or a base of ours gives."""
    fields = {each.name for each in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        for name, member in vars(base).items() if base.__module__.startswith("spectranet") else ():
            public = not name.startswith("_") or name in ("__len__", "__call__")
            if not public or name in fields:
                continue
            found[name] = _arguments(member) if inspect.isfunction(member) else "value"
    return found


def _hook_arguments(name: str) -> list[str]:
    manager = pluggy.PluginManager("spectranet")
    manager.add_hookspecs(hookspecs)
    return list(getattr(manager.hook, name).spec.argnames)


def breaks(recorded: Surface, now: Surface) -> list[str]:
    """A line for everything that a published plugin may rely on and that is gone or another."""
    found = []
    for section, entries in recorded.items():
        for name, entry in entries.items():
            if name not in now.get(section, {}):
                found.append(f"{name} is gone")
            else:
                found += (f"{name}{line}" for line in _breaks_of(name, entry, now[section][name]))
    return found


def _breaks_of(name: str, old: Entry, new: Entry) -> Iterator[str]:
    if old["kind"] != new["kind"]:
        yield f" was a {old['kind']} and is a {new['kind']}"
        return
    if new.get("frozen") and not old["frozen"]:
        yield " is frozen now: who sets its fields cannot"
    ordered = old["kind"] != "hook" and name not in SETTINGS
    for part in ("fields", "arguments"):
        yield from _breaks_of_parts(_without_since(old.get(part, {})), new.get(part, {}), ordered)
    yield from (f": is no {base} any more" for base in old.get("bases", {}) if base not in new["bases"])
    before, members = old.get("members", {}), new.get("members", {})
    for member, parts in before.items():
        if member not in members:
            yield f".{member} is gone"
        elif isinstance(parts, dict) != isinstance(members[member], dict):
            yield f".{member} is called in another way"
        elif isinstance(parts, dict):
            lines = _breaks_of_parts(_without_since(parts), members[member], ordered=True)
            yield from (f".{member}{line}" for line in lines)
    if name in WRITTEN_BY_PLUGINS:
        yield from (f".{new} is asked of every implementation" for new in members if new not in before)


def _breaks_of_parts(old: dict[str, str], new: dict[str, str], ordered: bool) -> Iterator[str]:
    """
    Args:
        old: name -> ``required``, ``optional``, or these by name, in order; so ``new``.
        ordered: whether callers may give them by position.
    """
    for name, how in old.items():
        if name not in new:
            yield f".{name} is gone"
        elif new[name].endswith("required") and how.endswith("optional"):
            yield f".{name} is required now"
        elif new[name].startswith("by name") and not how.startswith("by name"):
            yield f".{name} can only be given by name now"
    for name in new.keys() - old.keys():
        if ordered and new[name].endswith("required"):
            yield f".{name} is new and required: who does not give it fails"
    places, now = ([n for n, how in each.items() if not how.startswith("by name")] for each in (old, new))
    kept = [name for name in places if name in now]
    if ordered and now[: len(kept)] != kept:
        yield f" has its parts in another order: {', '.join(now)}, and not first {', '.join(kept)}"


def with_additions(recorded: Surface, now: Surface, version: str) -> tuple[Surface, list[str]]:
    """What is recorded and what is new, in the order of now, each with the version it is there since.

    Returns:
        the surface to write down, and a name for each addition.
    """
    added: list[str] = []

    def since(old: Any, new: Any, name: str) -> Any:
        if isinstance(new, dict):
            old = old if isinstance(old, dict) else {}
            return {key: since(old.get(key), value, f"{name}.{key}") for key, value in new.items()}
        if not isinstance(new, str) or name.endswith(".kind"):
            return new
        if isinstance(old, str):
            return f"{new}, since {old.partition(', since ')[2]}"
        added.append(name.partition(".")[2])
        return f"{new}, since {version}"

    return since(recorded, now, ""), added


def _without_since(parts: dict[str, str]) -> dict[str, str]:
    return {name: how.partition(", since ")[0] for name, how in parts.items()}


def main() -> int:
    now = read_surface()
    if "--show" in sys.argv:
        print(json.dumps(now, indent=1))
        return 0
    recorded: Surface = json.loads(RECORDED.read_text()) if RECORDED.exists() else {"names": {}, "hooks": {}}
    if broken := breaks(recorded, now):
        print("\n  ".join(["this breaks plugins that are published; nothing is written:", *broken]))
        return 1
    surface, added = with_additions(recorded, now, spectranet.__version__)
    RECORDED.write_text(json.dumps(surface, indent=1) + "\n")
    print("\n  ".join([f"{len(added)} additions since {spectranet.__version__}", *added]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
