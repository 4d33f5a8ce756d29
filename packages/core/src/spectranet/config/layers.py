"""In which order do presets, files and the command line speak?

Each gives a tree of plain values with the name of its origin; later layers win. Nothing here knows
the schema.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectranet.builtin import core_presets
from spectranet.config.plain_yaml import read_yaml
from spectranet.contracts import Preset
from spectranet.errors import ConfigError, not_there

__all__ = ["COMMAND_LINE", "Layer", "read_layers"]

COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Layer:
    """Values from one origin: ``preset tiny``, ``file mine.yaml``, ``command line``."""

    origin: str
    tree: dict[str, Any]


FindPreset = Callable[[str], Preset]
"""Name to preset; raises ConfigError for an unknown name."""


def read_layers(configs: Sequence[str], overrides: Sequence[str], find_preset: FindPreset) -> list[Layer]:
    """All layers, the weakest first.

    Args:
        configs: preset names, or paths of YAML files (with a ``/`` or ending in .yaml or .yml).
        overrides: ``a.b.c=value``.

    Raises:
        ConfigError: with every file that cannot be read and every malformed override.
    """
    layers: list[Layer] = []
    problems: list[str] = []
    for config in configs:
        try:
            layers += _with_bases(config, Path(), find_preset, ())
        except ConfigError as error:
            problems.append(str(error))
    for text in overrides:
        try:
            layers.append(_override(text))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return layers


def _with_bases(config: str, folder: Path, find_preset: FindPreset, above: tuple[str, ...]) -> list[Layer]:
    """The layer of one preset or file after those that it extends; paths are relative to ``folder``."""
    if is_path(config):
        path = folder / Path(config).expanduser()
        origin, identity, text = f"file {path}", str(path.resolve()), _read_file(path)
        below = path.parent
    else:
        origin, identity, text = f"preset {config}", config, find_preset(config).yaml
        below = Path()
    if identity in above:
        raise ConfigError(f"{origin} extends itself.")
    tree = read_yaml(text, origin)
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise ConfigError(f"{origin}: wants options such as 'train:', not a {type(tree).__name__}.")
    bases = tree.pop("extends", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"{origin}: extends wants the name of a preset or a file.")
    layers = []
    for base in bases:
        layers += _with_bases(base, below, find_preset, (*above, identity))
    return [*layers, Layer(origin, tree)]


def is_path(config: str) -> bool:
    return "/" in config or "\\" in config or config.endswith((".yaml", ".yml"))


def _read_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        presets = ", ".join(preset.name for preset in core_presets())
        raise ConfigError(f"config file {not_there(str(path))}\n  presets: {presets}") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"config file {path}: {reason}.") from error


def _override(text: str) -> Layer:
    key, equals, value = text.partition("=")
    names = key.strip().split(".")
    if not equals:
        raise ConfigError(f"override '{text}' is not of the form key=value.")
    if key.startswith(("+", "~")):
        raise ConfigError(f"override '{text}': write key=value, without '{key[0]}'; key=null switches off.")
    if not all(names):
        raise ConfigError(f"override '{text}': '{key}' is not a dotted name.")
    # An empty value is empty text; null has to be written.
    leaf = read_yaml(value, f"override '{text}'") if value.strip() else ""
    tree: dict[str, Any] = {names[-1]: leaf}
    for name in reversed(names[:-1]):
        tree = {name: tree}
    return Layer(COMMAND_LINE, tree)
