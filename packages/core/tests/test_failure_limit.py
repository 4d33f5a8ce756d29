"""Failures are counted by reason, written down by step, and end a run where they are too many."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest
from launch import launch

from spectranet.data.failures import Failures, Skipped, tally, worst
from spectranet.train.distributed import start_world
from spectranet.train.faults.failure_limit import FailureLimit
from spectranet.train.faults.failure_log import FailureLog

# ------------------------------------------------------------------------------------------ reasons


def test_what_is_reported_fits_a_line_whatever_a_file_holds():
    each = Skipped.of("s", "a\x1b[31m\nb\udcff", "bad \x00\u202e" + "x" * 10_000)
    assert each.key == "a�[31m b�" and each.reason.startswith("bad ��xxx")
    assert len(each.reason) == 400 and (each.key + each.reason).isprintable()


def test_reasons_that_differ_by_names_and_numbers_only_are_one():
    failures = Failures()
    failures.add(7, [Skipped("s", f"k{i}", f"'k{i}.jpg': cut short by {i} bytes") for i in range(12)])
    failures.add(7, [Skipped("s", "other", "empty file")])
    failures.add(0, [Skipped("s", "k0", "empty file", attempt=n) for n in range(1, 9)])
    assert [each.count for each in failures.reasons.values()] == [12, 1]
    assert worst(failures.reasons).splitlines() == [
        "  12 x  'k0': 'k0.jpg': cut short by 0 bytes",
        "   1 x  'other': empty file",
    ]
    assert (failures.tried, failures.failed, len(failures.examples)) == (14, 13, 10)


def test_the_bytes_that_bad_files_start_with_do_not_make_many_reasons_of_one():
    starts = ["66 6c 61 63", "52 49 46 46 00 00", "ff d8", "be ad 12"]
    reasons = tally(Skipped("s", "k", f"not a JPEG, PNG or WebP (starts with {each})") for each in starts)
    assert [each.count for each in reasons.values()] == [4]


def test_the_number_of_reasons_is_bounded():
    words = ("".join(chr(97 + int(digit)) for digit in str(i)) for i in range(5000))
    reasons = tally(Skipped("s", "k", word) for word in words)
    assert len(reasons) == 101 and sum(each.count for each in reasons.values()) == 5000
    assert len(worst(reasons).splitlines()) == 10


# ------------------------------------------------------------------------------------------ the log


@pytest.fixture(scope="module")
def world():
    return start_world("cpu", 1)


def logged(run_dir: Path) -> list[dict]:
    text = (run_dir / "failures" / "rank-0.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_full_disk_ends_no_run_and_what_could_not_be_written_follows_later(tmp_path, world):
    log = FailureLog(tmp_path, 0, world)
    log.write(1, [Skipped("s", "before", "bad")])
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, most))  # EFBIG stands for ENOSPC
    try:
        log.write(2, [Skipped("s", "while full", "bad"), Skipped("s", "too", "bad")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert (tmp_path / "failures" / "rank-0.jsonl").stat().st_size <= 100
    log.write(3, [Skipped("s", "after", "bad")])
    assert [line["key"] for line in logged(tmp_path)] == ["before", "while full", "too", "after"]


def test_failures_are_written_by_step_and_forgotten_where_steps_are_done_again(tmp_path, world):
    log = FailureLog(tmp_path, 0, world)
    assert not (tmp_path / "failures").exists()
    for step in (1, 2, 3):
        log.write(step, [Skipped("s", f"k{step}", "it is\u2028bad")])
    (tmp_path / "failures" / "rank-7.jsonl").write_text('{"step": 1, "source": "s"}\n{"step": 3, "so')

    FailureLog(tmp_path, 2, world).write(3, [Skipped("s", "again", "bad")])

    assert [(each["step"], each["key"]) for each in logged(tmp_path)] == [(1, "k1"), (2, "k2"), (3, "again")]
    assert (tmp_path / "failures" / "rank-7.jsonl").read_text() == '{"step": 1, "source": "s"}\n'


def test_a_bad_source_does_not_fill_the_disk_and_hides_no_other(tmp_path, world):
    for start in (0, 1):  # the bound holds over a resume
        log = FailureLog(tmp_path, start, world)
        log.write(start + 1, [Skipped("bad", f"k{i}", "bad") for i in range(900)])
    log.write(2, [Skipped("good", "once", "bad")])

    lines = logged(tmp_path)
    assert len(lines) == 1000 + 1 + 1
    assert lines[-2] == {"step": 2, "source": "bad", "note": "1000 are listed; the rest is only counted"}
    assert lines[-1]["key"] == "once"


# ---------------------------------------------------------------------------------------- the limit


def limit(share: float, tried: int, failed: int, before: tuple[int, int] = (0, 0)) -> FailureLimit:
    failures = Failures()
    failures.add(tried, [Skipped("s", f"k{i}", "it is bad") for i in range(failed)])
    judge = FailureLimit(share, {"s": failures, "a": Failures()}, {"s": before})
    judge.update(judge.counts())
    return judge


@pytest.mark.parametrize(
    ("share", "tried", "failed", "stops"),
    [
        (0.01, 10, 1, False),  # one of the first ten is no tenth
        (0.01, 110, 10, False),
        (0.01, 110, 11, True),
        (0.01, 100_000, 1_000, False),
        (0.01, 100_000, 1_001, True),
        (0.0, 100_000, 1, True),
        (0.0, 100_000, 0, False),
        (1.0, 100_000, 100_000, False),
    ],
)
def test_when_a_source_is_over_the_limit(share, tried, failed, stops):
    assert limit(share, tried, failed).passed() == (["s"] if stops else [])


def test_the_error_names_source_share_limit_reasons_and_the_next_command(tmp_path, world):
    assert str(limit(0.01, 100, 20).error(world, 7, tmp_path)).splitlines() == [
        "source 's': 20 of 100 samples could not be used (20 %); data.failure_limit is 1 % of at least 1,000",
        "  20 x  'k0': it is bad",
        f"  all of them:  {tmp_path / 'failures'}",
        "  a checkpoint of step 7 is written: mend the source and repeat the command to go on",
        "  or accept the loss:  data.failure_limit=0.4",
    ]


@pytest.mark.parametrize(("tried", "failed"), [(105, 17), (1_000_000, 20_000), (12, 11), (200, 11)])
def test_the_limit_that_is_suggested_lets_as_bad_a_source_through_to_the_end(tmp_path, world, tried, failed):
    *_, line = str(limit(0.01, tried, failed).error(world, 7, tmp_path)).splitlines()
    suggested = float(line.partition("data.failure_limit=")[2])
    assert failed / tried < suggested <= 1.0
    assert limit(suggested, 100 * tried, 100 * failed).passed() == []


def test_ranks_judge_together_and_tell_the_reasons_of_all():
    assert launch(Path(__file__).parent / "ranks" / "failures.py", ranks=2).count("agreed") == 2


def test_figures_are_of_the_whole_run_and_the_limit_is_of_this_start():
    resumed = limit(0.01, 100, 5, before=(500, 400))
    assert resumed.passed() == []
    assert resumed.totals() == {"a": (0, 0), "s": (600, 405)}
    assert resumed.figures() == {"replaced_samples": 405.0, "tried/s": 600.0, "failed/s": 405.0}
