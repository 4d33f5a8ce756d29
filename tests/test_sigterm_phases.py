"""A scheduler's signal may come at any time: both ranks end with 75, and the run can go on.

The moments are not left to chance: a plugin stands still in a phase until the signal has been sent.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "aimed"))
from ranks import Ranks, command, losses, make_data, wait_for

MOMENTS = {
    "imports": ("imports:1", ()),
    "set-up": ("set-up:1", ()),
    "first step": ("forward:1", (0,)),
    "forward": ("forward:13", (3, 4)),
    "first accumulation": ("forward:3", (0,)),
    "accumulation": ("forward:15", (3, 4)),
    "evaluation": ("evaluation:2", (2,)),
    "last evaluation": ("evaluation:9", (6,)),
    "save": ("save:1", (3, 4)),
    "last save": ("save:2", (6,)),
}
"""Moment -> where the plugin stands still, and after which steps the run may then say that it has stopped.

A step has four forwards on each rank. Saves follow steps 3 and 6, evaluations of four batches 2, 4 and 6.
A step is given up between its micro-batches where the one before took seconds, or is not known; else it is
finished.
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_data(folder)
    return folder


@pytest.fixture(scope="module")
def untouched(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """The losses of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("untouched")
    with Ranks(data, command(data, folder / "run"), folder / "told") as ranks:
        assert ranks.codes() == [0, 0], ranks.told()
    found = losses(folder / "run")
    assert list(found) == [1, 2, 3, 4, 5, 6]
    assert all(found.values())
    return found


@pytest.mark.slow
@pytest.mark.parametrize("signalled", [(1,), (0, 1)], ids=["one rank", "both ranks"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_both_ranks_end_with_75_and_the_same_command_comes_to_the_same_end(
    moment: str, signalled: tuple[int, ...], data: Path, untouched: dict[int, float], tmp_path: Path
) -> None:
    aim, stops = MOMENTS[moment]
    arguments = command(data, tmp_path / "run")
    with Ranks(data, arguments, tmp_path / "told", f"{aim}:0,1:{tmp_path}") as ranks:
        wait_for([tmp_path / "reached-0", tmp_path / "reached-1"], ranks)
        ranks.send(signal.SIGTERM, signalled)
        time.sleep(
            0.5
        )  # the thread that listens takes it while the ranks stand still, also on a busy machine
        (tmp_path / "go-on").touch()
        assert ranks.codes() == [75, 75], ranks.told()
    assert ranks.told().splitlines()[-1] in {ending(step) for step in stops or (None,)}
    assert "Traceback" not in ranks.told()

    with Ranks(data, arguments, tmp_path / "told") as again:
        assert again.codes() == [0, 0], again.told()
    assert losses(tmp_path / "run") == untouched


def ending(step: int | None) -> str:
    """The last line of a run that has stopped."""
    if step is None:
        return "ended by a signal before the first step; the same command goes on"
    if step == 0:
        return "stopped before the first step was done; the same command goes on"
    return f"stopped after step {step}, now saved; the same command goes on from there."
