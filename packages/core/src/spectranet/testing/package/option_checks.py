"""Are a dataclass's options documented, and do they survive a file?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

__all__ = ["accepted_unknown", "round_trip_flaw", "undocumented"]

_UNKNOWN = "no_such_option"


def undocumented(options: Any, path: str = "") -> Iterator[str]:
    """A sentence for each option, nested ones too, without exactly one line of help."""
    for field in dataclasses.fields(options):
        name, help = f"{path}{field.name}", field.metadata.get("help")
        if not isinstance(help, str) or not help.strip():
            yield f"'{name}' has no help"
        elif "\n" in help.strip():
            yield f"the help of '{name}' has {len(help.strip().splitlines())} lines"
        value = getattr(options, field.name, None)
        if dataclasses.is_dataclass(value):
            yield from undocumented(value, f"{name}.")


def round_trip_flaw(options: Any) -> str:
    """What becomes different on the way through OmegaConf and YAML; empty where nothing does."""
    cls = type(options)
    try:
        text = OmegaConf.to_yaml(OmegaConf.structured(options))
        back = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(cls), OmegaConf.create(text)))
    except OmegaConfBaseException as error:
        return f"OmegaConf refuses {cls.__name__}: {str(error).splitlines()[0]}"
    if back == options:
        return ""
    changed = [
        f"{field.name}: {before!r:.60} came back as {after!r:.60}"
        for field in dataclasses.fields(options)
        if (before := getattr(options, field.name)) != (after := getattr(back, field.name, None))
    ]
    return "; ".join(changed) or f"{cls.__name__} is not equal to itself; a dataclass compares by its fields"


def accepted_unknown(cls: type) -> str:
    """By which way ``cls`` takes an option that it does not have; empty where none does."""
    try:
        cls(**{_UNKNOWN: 1})
    except TypeError:
        pass
    else:
        return f"{cls.__name__}({_UNKNOWN}=1) is taken without a word"
    try:
        OmegaConf.merge(OmegaConf.structured(cls), {_UNKNOWN: 1})
    except OmegaConfBaseException:
        return ""
    return f"'{_UNKNOWN}: 1' in a configuration file is taken without a word"
