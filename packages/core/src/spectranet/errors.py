"""How mistakes read: who, what, and the next command. The CLI prints them without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["ConfigError", "DataError", "DecodeError", "PluginError", "SpectraNetError", "did_you_mean"]


class SpectraNetError(ValueError):
    """A mistake that a user can mend. ``exit_code`` is what the command line ends with."""

    exit_code = 2


class PluginError(SpectraNetError):
    """A plugin is unknown, missing, ambiguous, incompatible or broken."""


class ConfigError(SpectraNetError):
    """The configuration cannot be used; the message lists every problem found."""


class DataError(SpectraNetError):
    """A source or a sample cannot be read."""


class DecodeError(DataError):
    """The bytes of one field cannot be decoded, or exceed a limit."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``" Did you mean 'vision'?"`` for a near miss, else an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
