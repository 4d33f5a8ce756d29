"""How mistakes read: who, what, and the next command. The CLI prints them without a traceback."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable

__all__ = [
    "ConfigError",
    "DataError",
    "DecodeError",
    "PluginError",
    "SpectraNetError",
    "did_you_mean",
    "not_there",
]


class SpectraNetError(ValueError):
    """A mistake that a user can mend.

    Attributes:
        exit_code: what the command line ends with.
        same_on_all_ranks: whether every rank comes to it by itself, so that one of a node tells it.
    """

    exit_code = 2
    same_on_all_ranks = False


class PluginError(SpectraNetError):
    """A plugin is unknown, missing, ambiguous, incompatible or broken."""

    same_on_all_ranks = True


class ConfigError(SpectraNetError):
    """The configuration cannot be used; the message lists every problem found."""

    same_on_all_ranks = True


class DataError(SpectraNetError):
    """A source or a sample cannot be read."""


class DecodeError(DataError):
    """The bytes of one field cannot be decoded, or exceed a limit."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``" Did you mean 'vision'?"`` for a near miss, else an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def not_there(path: str, note: str = "") -> str:
    """``'a/b' does not exist.``, a near name in its folder, and the absolute path that was looked at."""
    absolute = os.path.abspath(os.path.expanduser(path))
    folder, missing = os.path.split(absolute)
    while not os.path.isdir(folder) and folder != os.path.dirname(folder):
        folder, missing = os.path.split(folder)
    try:
        hint = did_you_mean(missing, os.listdir(folder))
    except OSError:
        hint = ""
    return f"'{path}' does not exist.{hint}\n  looked at: {absolute}" + (f"  ({note})" if note else "")
