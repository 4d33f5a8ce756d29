"""A rank that hangs, is stopped or is killed: it is named, with where it is, and all ranks end with 76.

The timeout is of seconds here, against ten minutes by default. A plugin stands still where a test wants it.
"""

from __future__ import annotations

import fcntl
import re
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "aimed"))
from ranks import Ranks, command, make_data, wait_for

TIMEOUT_S = 6

GOES_ON = "the same command goes on from the newest checkpoint"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_data(folder)
    return folder


def lose(
    data: Path, folder: Path, moment: str, rank: int, number: signal.Signals | None
) -> tuple[list, list]:
    """Let ``rank`` stand still at a moment, or send it a signal there.

    Returns:
        Exit codes, and what was told from the error on.
    """
    more = (f"train.timeout_s={TIMEOUT_S}", "data.stall_s=300", "train.steps=1000", "eval.every=0")
    with Ranks(
        data, command(data, folder / "run", *more), folder / "told", f"{moment}:{rank}:{folder}"
    ) as ranks:
        wait_for([folder / f"reached-{rank}"], ranks)
        since_s = time.monotonic()
        if number is not None:
            ranks.send(number, [rank])
            (folder / "go-on").touch()
        codes = ranks.codes()
        # Not how fast, but that nothing waits for the half hour of a process group.
        assert time.monotonic() - since_s < 12 * TIMEOUT_S
        told = ranks.told().splitlines()
        name = f"rank {rank} ("
        first = next((i for i, line in enumerate(told) if line.startswith(f"error: {name}")), None)
        assert first is not None, ranks.told()
        assert f", pid {ranks.pids[rank]}) " in told[first]
        assert told[first].endswith("; 1 other rank waits for it")
        assert told[-1].strip() == GOES_ON, ranks.told()
        return codes, told[first:]


def test_a_rank_that_waits_for_its_data_is_named_with_the_phase(data: Path, tmp_path: Path) -> None:
    codes, told = lose(data, tmp_path, "data:9", 1, None)
    assert codes == [76, 76]
    assert re.search(r"has been in step \d+, phase data, for \d+ s, at data/loader.py:\d+ in _next;", told[0])
    assert told[1] == f"  slow rather than hung?  train.timeout_s={2 * TIMEOUT_S}"


def test_a_rank_that_stands_still_in_a_plugin_is_named_with_the_line(data: Path, tmp_path: Path) -> None:
    codes, told = lose(data, tmp_path, "forward:9", 0, None)
    assert codes == [76, 76]
    assert re.search(r"in step 3, phase forward, for \d+ s, at aimed/plugin.py:\d+ in reach;", told[0])


@pytest.mark.parametrize("rank", [0, 1])
def test_a_stopped_process_is_named_and_killed(rank: int, data: Path, tmp_path: Path) -> None:
    codes, told = lose(data, tmp_path, "forward:9", rank, signal.SIGSTOP)
    assert codes[rank] == -signal.SIGKILL  # it heeds nothing else, and would wake up to a run that is over
    assert codes[1 - rank] == 76
    assert re.search(
        r"gives no sign of life for \d+ s: its process is stopped; last heard of in step", told[0]
    )
    # Without torchrun rank 0 holds the store by which ranks tell each other where they are.
    assert ("the ranks' store at 127.0.0.1 (rank 0's) does not answer" in told) == (rank == 0)


@pytest.mark.parametrize(("moment", "rank"), [("forward:9", 0), ("forward:9", 1), ("set-up:1", 1)])
def test_a_killed_rank_is_named_at_once_by_one_that_is_left(
    moment: str, rank: int, data: Path, tmp_path: Path
) -> None:
    codes, told = lose(data, tmp_path, moment, rank, signal.SIGKILL)
    assert codes[rank] == -signal.SIGKILL
    assert codes[1 - rank] == 76
    assert ") is gone; last heard of in step" in told[0]


def test_a_rank_that_cannot_start_is_told_to_those_that_would_wait_for_it(data: Path, tmp_path: Path) -> None:
    """Without a launcher that would end them. Here rank 0 finds its directory in use."""
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / "run.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with Ranks(data, command(data, tmp_path / "run"), tmp_path / "told") as ranks:
            assert ranks.codes() == [2, 2], ranks.told()
    assert "is in use by another run" in ranks.told()


def test_a_slow_evaluation_is_no_hang(data: Path, tmp_path: Path) -> None:
    """A batch of it may take three times as long."""
    aim = f"evaluation:2:0,1:{tmp_path}"
    with Ranks(
        data, command(data, tmp_path / "run", f"train.timeout_s={TIMEOUT_S}"), tmp_path / "told", aim
    ) as ranks:
        wait_for([tmp_path / "reached-0", tmp_path / "reached-1"], ranks)
        time.sleep(1.5 * TIMEOUT_S)
        (tmp_path / "go-on").touch()
        assert ranks.codes() == [0, 0], ranks.told()
