"""How is configuration text read and written? YAML without surprises.

Reading builds plain data only: no tags, anchors or aliases (a file can neither run code nor grow
exponentially), no duplicate keys, and of the implicit types only null, true, false and numbers as
YAML 1.2 has them: ``5e-4`` is a number, ``no`` and ``1:30`` are text.
"""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

import yaml

from spectranet.errors import ConfigError

__all__ = ["read_yaml", "write_value"]

_LARGEST = 1_000_000
"""Characters; a configuration is a page, and parsing is slow."""

_IMPLICIT = {
    "null": (re.compile(r"(?:null|~|)$"), ["n", "~", ""]),
    "bool": (re.compile(r"(?:true|false)$"), ["t", "f"]),
    "int": (re.compile(r"[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789")),
    "float": (
        re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
        list("-+.0123456789"),
    ),
}


class _Loader(yaml.SafeLoader):
    """SafeLoader with the implicit types above, and refusals in place of features."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _at(event, "anchors and aliases are not supported; write the value again")
        if getattr(event, "tag", None):
            raise _at(event, f"tags are not supported ({event.tag})")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                raise _at(key, "a key must be text; put it in quotes")
            if key.value in seen:
                raise _at(key, f"key '{key.value}' occurs twice")
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


for _kind, (_pattern, _first) in _IMPLICIT.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _pattern, _first)


def _at(where: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark)


def read_yaml(text: str, origin: str) -> Any:
    """Plain data: dicts with text keys, lists, text, numbers, booleans and None.

    Raises:
        ConfigError: with the line, and what is wrong there.
    """
    if len(text) > _LARGEST:
        raise ConfigError(f"{origin} is larger than {_LARGEST:,} characters.")
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{origin}{line}: {error.problem or error.context}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{origin}: not readable as YAML: {str(error).splitlines()[0]}.") from error


def write_value(value: Any) -> str:
    """A value on one line, such that :func:`read_yaml` gives it back; text bare where that is safe."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{write_value(k)}: {write_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(write_value, value)) + "]"
    if not isinstance(value, str):
        return json.dumps(value)
    return value if _is_safe_bare(value) else f'"{"".join(map(_escaped, value))}"'


def _escaped(character: str) -> str:
    """As it stands between double quotes. JSON's pairs of surrogates would not come back as one character."""
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def _is_safe_bare(text: str) -> bool:
    if not re.fullmatch(r"[A-Za-z0-9_./~+-][A-Za-z0-9_./@~+ -]*", text) or text != text.strip():
        return False
    try:
        return bool(read_yaml(f"[{text}]", "text") == [text])
    except ConfigError:
        return False
