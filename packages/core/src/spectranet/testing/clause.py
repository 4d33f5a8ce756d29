"""A clause of the contract: a check that a conformance class inherits, and what its failure says.

The name of the method is the clause's name; the first paragraph of its docstring is what the contract asks,
the rest how that is checked and how a breach is mended. ``docs/conformance.md`` and ``python -m
spectranet.testing`` show the same docstrings.
"""

from __future__ import annotations

import functools
import inspect
import re
import textwrap
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from spectranet.errors import PluginError

__all__ = [
    "BrokenClauseError",
    "ConformanceError",
    "asked",
    "clause",
    "clauses_of",
    "plain",
    "require",
    "words_of",
]

_Check = TypeVar("_Check", bound=Callable[..., None])

_CALLERS = frozenset({"spectranet", "torch", "pluggy", "importlib"})
"""Packages whose frames may lie between a clause and the plugin."""

_WIDTH = 76
"""pytest puts four columns before each line of a failure."""


class BrokenClauseError(Exception):
    """What a check has found: the facts alone; :func:`clause` says the rest."""


class ConformanceError(AssertionError):
    """A plugin does not keep a clause of the contract."""


ConformanceError.__module__ = (
    "spectranet.testing"  # where authors import it from, and shorter in pytest's output
)


def require(holds: Any, found: str) -> None:
    """Say ``found`` (figures, names, tolerances) unless the clause holds.

    Raises:
        BrokenClauseError: it does not.
    """
    if not holds:
        raise BrokenClauseError(found)


def clause(check: _Check) -> _Check:
    """Make a test method a clause. Whatever the plugin raises meanwhile breaks the clause too.

    A failure shows no line of the kit: of a broken clause the message alone, of an exception of the plugin
    the plugin's own traceback besides.
    """

    @functools.wraps(check)
    def run(self: Any, *args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        cause: BaseException | None = None
        try:
            return check(self, *args, **kwargs)
        except BrokenClauseError as broken:
            found, cause = str(broken), broken.__cause__
        except ConformanceError:
            raise
        except PluginError as refusal:
            found = words_of(refusal)  # every clause that needs the plugin meets it, so no traceback here
        except (Exception, SystemExit) as error:
            found, cause = f"{type(error).__name__}: {error}", error
        if cause is not None:
            cause = cause.with_traceback(_from_the_plugin_on(cause.__traceback__))
        raise ConformanceError(_message(self, check, found)) from cause

    run.is_clause = True  # type: ignore[attr-defined]
    return run  # type: ignore[return-value]


def clauses_of(cls: type) -> dict[str, str]:
    """Name -> docstring of every clause that ``cls`` checks, in the order in which they are written."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        for name, member in vars(base).items():
            if getattr(member, "is_clause", False):
                found[_name(name)] = inspect.getdoc(member) or ""
    return found


def asked(documentation: str) -> str:
    """What the contract asks, in one line: the first paragraph of a clause's docstring."""
    return " ".join(plain(documentation.partition("\n\n")[0]).split())


def plain(documentation: str) -> str:
    """The reStructuredText of docstrings as Markdown, which terminals read well too."""
    return re.sub(r"(?::\w+:)?`{1,2}~?([^`]+)`{1,2}", r"`\1`", documentation)


def words_of(refusal: PluginError) -> str:
    """What the host says of a plugin, without its advice to those who run the command line."""
    return "\n".join(line for line in str(refusal).splitlines() if "SPECTRANET_DEBUG" not in line)


def _name(method: str) -> str:
    return method.removeprefix("test_").replace("_", "-")


def _message(case: Any, check: Callable[..., None], found: str) -> str:
    name = _name(check.__name__)
    lines = [
        *_wrapped(f"the contract asks: {asked(inspect.getdoc(check) or '')}"),
        *_wrapped(f"found: {found}"),
        *_wrapped(f"documented: python -m spectranet.testing {name}, or docs/conformance.md#{name}"),
    ]
    return "\n".join([case.who(), f"  breaks the clause '{name}'.", *lines])


def _wrapped(text: str) -> list[str]:
    """Indented lines; the breaks that ``text`` has stay, since they part facts."""
    lines = []
    for number, line in enumerate(text.splitlines()):
        indent = "  " if number == 0 else "    " + " " * (len(line) - len(line.lstrip()))
        lines += textwrap.wrap(
            line.strip(),
            _WIDTH,
            initial_indent=indent,
            subsequent_indent="    " if number == 0 else indent + "  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def _from_the_plugin_on(traceback: TracebackType | None) -> TracebackType | None:
    """Without the frames that lead from the kit to the plugin; all of it where the plugin has none."""
    own = traceback
    while own is not None and str(own.tb_frame.f_globals.get("__name__")).partition(".")[0] in _CALLERS:
        own = own.tb_next
    return own or traceback
