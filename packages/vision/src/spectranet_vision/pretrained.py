"""Which architecture does a folder with pretrained weights hold? Read from its JSON, without torch."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from spectranet import ConfigError
from spectranet_vision.config import VitConfig

__all__ = ["read_architecture", "resolve"]

_KEYS = {
    "image_size": "image_size",
    "patch_size": "patch_size",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp_hidden": "intermediate_size",
}
"""Option of ours -> key in the ``config.json`` of transformers."""


def read_architecture(folder: str) -> dict[str, Any]:
    """The ``config.json`` of a ViT that transformers saved.

    Raises:
        ConfigError: there is no such folder or file, it is not JSON, or it is of another model.
    """
    path = Path(folder) / "config.json"
    who = f"trunk 'vit': pretrained folder {folder!r}"
    if not path.is_file():
        raise ConfigError(
            f"{who} has no config.json.\n  write one:  ViTModel.save_pretrained(folder) of transformers; "
            "or unset trunks.vit.pretrained"
        )
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{who}: config.json is not JSON: {error}") from error
    kind = found.get("model_type") if isinstance(found, dict) else None
    if kind != "vit":
        raise ConfigError(f"{who} holds a model of type {kind!r}; this trunk loads 'vit'.")
    if found.get("num_channels", 3) != 3:
        raise ConfigError(f"{who} is for {found['num_channels']} colour channels; this trunk feeds 3.")
    for key in ("image_size", "patch_size"):
        sides = found.get(key)
        if isinstance(sides, list):
            if len(set(sides)) != 1:
                raise ConfigError(f"{who} has {key}={sides}; this trunk takes squares.")
            found[key] = sides[0]
    return dict(found)


def resolve(config: VitConfig) -> VitConfig:
    """The options with the architecture of the pretrained folder, if one is set.

    An option left at its default follows the folder.

    Raises:
        ConfigError: an option was set to something that the folder contradicts.
    """
    if not config.pretrained:
        return config
    found = read_architecture(config.pretrained)
    defaults = {f.name: f.default for f in fields(VitConfig)}
    values: dict[str, Any] = {}
    problems = []
    for name, key in _KEYS.items():
        ours, standard = getattr(config, name), defaults[name]
        # transformers saves every key, and what a shortened file leaves out has ViT-B/16's value,
        # which is our default too.
        values[name] = found.get(key, standard)
        if ours not in (standard, values[name]):
            problems.append(f"trunks.vit.{name}={ours}, but {config.pretrained!r} has {values[name]}")
    if problems:
        raise ConfigError("; ".join(problems) + ".\n  leave these options out: the folder decides them")
    return VitConfig(**values, pretrained=config.pretrained)
