"""docs/faults.md tells the truth: its exit codes are those of the code, its last lines are in the source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spectranet.errors import SpectraNetError
from spectranet.train.checkpoint import CheckpointNotWritten
from spectranet.train.faults.finite import DivergedError
from spectranet.train.stopping import ending
from spectranet.train.stopping.heartbeat import LostRank

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "faults.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """Cells of the first table under a heading, without its head."""
    section = TEXT.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_exit_codes_are_those_of_the_code() -> None:
    named = {name.strip("`"): int(code) for code, name, _ in rows("Exit codes") if name}
    assert named == {
        name: code for name, code in vars(ending).items() if name.isupper() and type(code) is int
    }
    assert {
        "MISTAKE": SpectraNetError.exit_code,
        "DIVERGED": DivergedError.exit_code,
        "NOT_SAVED": CheckpointNotWritten.exit_code,
        "LOST_RANK": LostRank.exit_code,
    }.items() <= named.items()


def test_every_fault_has_a_code_that_is_explained() -> None:
    known = {code for code, *_ in rows("Exit codes")} | {"137", ""}
    assert {code for _, _, code, _ in rows("Faults")} <= known
    assert len(rows("Faults")) >= 25


@pytest.mark.parametrize("fault", rows("Faults"), ids=lambda row: row[0])
def test_last_lines_stand_in_the_source(fault: list[str]) -> None:
    """In pieces: what differs from case to case is shown as an ellipsis."""
    pieces = [piece for line in re.findall(r"`([^`]+)`", fault[3]) for piece in line.split("…")]
    missing = [piece for piece in pieces if not any(plain(piece) in text for text in SOURCES)]
    assert missing == []


def plain(text: str) -> str:
    """Without the breaks that a message has in the source."""
    return re.sub(r"\s+", " ", re.sub(r'"\s*\n\s*f?"', "", text)).strip()


SOURCES = [plain(path.read_text()) for path in (ROOT / "packages/core/src/spectranet").rglob("*.py")]
