"""What a clause tells of its ranks, without starting any; clauses that start some have tests elsewhere."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from spectranet.testing.clause import BrokenClauseError
from spectranet.testing.ranks import _first_raised, on_ranks


def test_the_rank_that_failed_first_is_quoted(tmp_path: Path) -> None:
    told = {"0": {"raised": "RuntimeError: connection closed by peer"}, "1": {"raised": "tokens differ"}}
    for rank, outcome in told.items():
        path = tmp_path / f"{rank}.json"
        path.write_text(json.dumps(outcome))
        os.utime(path, (0, 9 - int(rank)))

    assert _first_raised(tmp_path) == ("1", "tokens differ")


def test_ranks_that_returned_have_raised_nothing(tmp_path: Path) -> None:
    (tmp_path / "0.json").write_text(json.dumps({"returned": 3}))

    assert _first_raised(tmp_path) is None


def test_options_that_cannot_be_sent_to_ranks_are_shown() -> None:
    with pytest.raises(BrokenClauseError, match=r"ranks cannot be sent .*'options'.*lambda"):
        on_ranks("module:work", {"options": {"width": lambda: 3}})
