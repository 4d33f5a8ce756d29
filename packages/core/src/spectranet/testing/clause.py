"""A clause of the contract: a check that a conformance class inherits, and what its failure says.

The name of the method is the clause's name, its docstring what the contract asks. ``docs/conformance.md``
and ``python -m spectranet.testing`` show the same docstrings.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["BrokenClauseError", "ConformanceError", "clause", "clauses_of", "require"]

_Check = TypeVar("_Check", bound=Callable[..., None])


class BrokenClauseError(Exception):
    """What a check has found: the facts alone; :func:`clause` says the rest."""


class ConformanceError(AssertionError):
    """A plugin does not keep a clause of the contract."""


def require(holds: Any, found: str) -> None:
    """Say ``found`` (figures, names, tolerances) unless the clause holds.

    Raises:
        BrokenClauseError: it does not.
    """
    if not holds:
        raise BrokenClauseError(found)


def clause(check: _Check) -> _Check:
    """Make a test method a clause. Whatever the plugin raises meanwhile breaks the clause too."""

    @functools.wraps(check)
    def run(self: Any, *args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        try:
            check(self, *args, **kwargs)
        except BrokenClauseError as broken:
            raise ConformanceError(_message(self, check, str(broken))) from None
        except ConformanceError:
            raise
        except Exception as error:
            raised = f"{type(error).__name__}: {error}"
            raise ConformanceError(_message(self, check, raised)) from error

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


def _name(method: str) -> str:
    return method.removeprefix("test_").replace("_", "-")


def _message(case: Any, check: Callable[..., None], found: str) -> str:
    name = _name(check.__name__)
    asks = " ".join((inspect.getdoc(check) or "").partition("\n\n")[0].split())
    return "\n".join(
        [
            f"{case.who()} breaks the clause '{name}'.",
            f"  the contract asks: {asks}",
            f"  found: {found}",
            f"  documented: docs/conformance.md#{name}, or python -m spectranet.testing {name}",
        ]
    )
