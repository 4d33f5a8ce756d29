"""How may a plugin be called, and what follows from its name?"""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass

from spectranet.errors import SpectraNetError
from spectranet.plugins import CORE, FIRST_PARTY

__all__ = ["LONGEST", "RESERVED", "Names", "names_of"]

LONGEST = 24
"""Characters. Generated lines stay within 110 up to here."""

_PATTERN = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

# Encoders and objectives are submodules by name, and torch refuses what its own classes are called.
_TORCH = frozenset(
    """
    T_destination add_module append apply bfloat16 buffers call_super_init children clear compile copy
    cpu cuda double dump_patches eval extend extra_repr float forward fromkeys get get_buffer
    get_default get_extra_state get_parameter get_submodule half insert ipu items keys load_state_dict
    modules mtia named_buffers named_children named_modules named_parameters parameters pop popitem
    register_backward_hook register_buffer register_forward_hook register_forward_pre_hook
    register_full_backward_hook register_full_backward_pre_hook register_load_state_dict_post_hook
    register_load_state_dict_pre_hook register_module register_parameter register_state_dict_post_hook
    register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule setdefault share_memory
    state_dict to to_empty train training type update values xpu zero_grad
    """.split()  # noqa: SIM905
)
# A key of YAML with such a name would be a boolean or nothing.
_YAML = frozenset(("true", "false", "yes", "no", "on", "off", "null", "none", "y", "n"))
_OF_ALL = {
    CORE: "the core",
    "conformance": "a file of tests in every package",
    "id": "a column of every manifest",
    "key": "a column of every manifest",
}
RESERVED = _TORCH | _YAML | frozenset(keyword.kwlist) | frozenset(keyword.softkwlist)


@dataclass(frozen=True)
class Names:
    """What a plugin called ``heat_map`` is called everywhere."""

    plugin: str
    """``heat_map``: its entry point and what it brings."""

    @property
    def distribution(self) -> str:
        """``spectranet-heat-map``"""
        return f"spectranet-{self.plugin.replace('_', '-')}"

    @property
    def module(self) -> str:
        """``spectranet_heat_map``"""
        return f"spectranet_{self.plugin}"

    @property
    def class_name(self) -> str:
        """``HeatMap``"""
        return "".join(part.capitalize() for part in self.plugin.split("_"))

    @property
    def constant(self) -> str:
        """``HEAT_MAP``"""
        return self.plugin.upper()


def names_of(word: str, kind: str) -> Names:
    """The names of a new plugin; dashes become underscores.

    Raises:
        SpectraNetError: nothing can be called so; says why, and with which name it works.
    """
    name = word.replace("-", "_")
    if _PATTERN.fullmatch(name) is None:
        raise _refusal(word, "it must be lower-case letters, digits and single dashes", kind, _mended(name))
    if name.startswith("spectranet"):
        bare = name.removeprefix("spectranet").strip("_")
        raise _refusal(word, "the package gets its 'spectranet-' by itself", kind, bare)
    if len(name) > LONGEST:
        raise _refusal(word, f"it is longer than {LONGEST} characters", kind, name[:LONGEST].strip("_"))
    if name in RESERVED:
        raise _refusal(word, "Python, torch or YAML use the word themselves", kind, f"{name}_{kind}")
    if taken := _taken(name):
        raise _refusal(word, f"{taken} is called so", kind, f"my_{name}")
    return Names(name)


def _taken(name: str) -> str | None:
    """What of SpectraNet itself, or of every package, has this name."""
    if name in _OF_ALL:
        return _OF_ALL[name]
    for plugin, brings in FIRST_PARTY.items():
        if name == plugin:
            return f"a plugin of SpectraNet ({brings.distribution})"
        for what in ("modalities", "trunks", "objectives", "tasks"):
            if name in getattr(brings, what):
                return f"something that {brings.distribution} brings"
    return None


def _mended(name: str) -> str:
    """The nearest name that works, as far as one can guess."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    return re.sub(r"^[0-9_]+", "", "_".join(words))[:LONGEST].strip("_")


def _refusal(word: str, reason: str, kind: str, instead: str) -> SpectraNetError:
    if not instead or instead in RESERVED or _taken(instead):
        instead = {"modality": "thermal", "objective": "recall"}[kind]
    return SpectraNetError(
        f"no {kind} can be called '{word}': {reason}.\n  try:  spectranet new {kind} {instead}"
    )
