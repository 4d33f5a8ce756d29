"""Which rank holds up the others, and what is said of it?"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import torch

from spectranet.train.checkpoint.peers import Peers
from spectranet.train.stopping.place import Place, Progress, born, here, told, who_holds_up


def places(count: int = 3) -> list[Place]:
    """Ranks that wait for each other in the forward of the third step, on other machines than this."""
    return [
        Place(rank, f"node-{rank}", 100 + rank, "elsewhere", "1", 9, 40, 2, "forward", "a.py:1 in f", True)
        for rank in range(count)
    ]


def names(found: list[Place]) -> list[int]:
    return [place.rank for place in found]


def test_who_has_come_less_far_holds_up_the_others() -> None:
    ranks = places()
    ranks[1] = replace(ranks[1], marks=39, phase="data")
    assert names(who_holds_up(ranks, ())) == [1]


def test_of_those_that_came_as_far_it_is_who_does_not_wait() -> None:
    ranks = places()
    ranks[2] = replace(ranks[2], waits=False)
    assert names(who_holds_up(ranks, ())) == [2]


def test_who_is_silent_or_has_ended_comes_before_who_is_behind() -> None:
    ranks = places()
    ranks[0] = replace(ranks[0], marks=1)
    assert names(who_holds_up(ranks, [2])) == [2]
    ranks[1] = replace(ranks[1], ended=2)
    assert names(who_holds_up(ranks, ())) == [1]


def test_where_nobody_is_behind_all_are_named_up_to_a_few() -> None:
    ranks = places(6)
    culprits = who_holds_up(ranks, ())
    assert names(culprits) == [0, 1, 2, 3, 4, 5]
    lines = told(culprits, (), 6, 60.0).splitlines()
    assert len(lines) == 5
    assert lines[-1] == "… and 2 more ranks; no rank is behind the others"


def test_a_rank_is_told_with_its_place_and_who_waits_for_it() -> None:
    ranks = places()
    assert told(ranks[1:2], (), 3, 59.7) == (
        "rank 1 (node-1, pid 101) has been in step 3, phase forward, for 60 s, at a.py:1 in f; "
        "2 other ranks wait for it"
    )
    assert told(ranks[:2], [0, 1], 3, 60.0).splitlines()[1] == (
        "rank 1 (node-1, pid 101) gives no sign of life for 60 s; last heard of in step 3, phase forward; "
        "1 other rank waits for them"
    )


def test_the_kernel_tells_a_stopped_process_from_one_that_is_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    me = here(0, 1, Progress(), look=False)
    other = replace(me, pid=process.pid, born=born(process.pid))
    assert (me.fate(), other.fate()) == ("alive", "alive")
    os.kill(process.pid, signal.SIGSTOP)
    until(other, "stopped")
    process.kill()
    until(other, "gone")  # though its parent has not asked for its end yet
    process.wait()
    assert other.fate() == "gone"
    assert replace(me, born="another").fate() == "gone"  # the same id, another process
    assert replace(me, machine="elsewhere").fate() == ""


def until(place: Place, fate: str) -> None:
    for _ in range(1000):
        if place.fate() == fate:
            return
        time.sleep(0.01)
    raise AssertionError(f"{place.fate()}, not {fate}")


def test_a_rank_that_waits_for_others_in_the_training_room_is_known_to_wait() -> None:
    """As in a collective, where the loop waits for its device or asks the other ranks through their store."""
    answers: queue.Queue[bytes] = queue.Queue()
    peers = Peers(1, 2, SimpleNamespace(get=answers.get))

    def look() -> Place:
        for _ in range(1000):
            place = here(1, 0, Progress(), look=True)
            if place.code.startswith("checkpoint/peers.py:"):
                break
            time.sleep(0.01)
        answers.put(b"rank 0's text")
        return place

    with ThreadPoolExecutor(1) as heartbeat:
        looked = heartbeat.submit(look)
        assert peers.told_by_first("") == "rank 0's text"
    assert looked.result().code.endswith(" in told_by_first")
    assert looked.result().waits


def test_a_place_goes_through_the_store_unchanged() -> None:
    with ThreadPoolExecutor(1) as heartbeat:
        place = heartbeat.submit(here, 3, 7, Progress(5), look=True, ended=2).result()
    assert place.code.startswith("tests/test_place.py:")
    assert not place.waits
    assert Place.from_json(place.to_json()) == place


def test_what_fails_on_one_rank_fails_on_all_with_its_reason() -> None:
    store = torch.distributed.HashStore()

    def start(rank: int) -> str:
        try:
            return Peers(rank, 2, store).together(lambda: str(1 / rank))
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    with ThreadPoolExecutor(2) as ranks:
        found = list(ranks.map(start, range(2)))
    assert found[0] == "ZeroDivisionError: division by zero"
    assert found[1] == "ConfigError: rank 0 cannot start: division by zero"
    assert Peers().together(lambda: "alone") == "alone"
