"""The report shows what a run was seen to do: figures of one kind together, events on a time line."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from report_page import HOSTILE, facts, record, rendered, write_run

from spectranet.report import render
from spectranet.report.records import read_run


@pytest.fixture
def run(tmp_path) -> Path:
    records = [record(step) for step in (1, *range(10, 101, 10))]
    return write_run(tmp_path / "my-run", records, facts())


def event(step: int, kind: str, text: str = "", time: float | None = None) -> dict:
    return {"step": step, "time": 1.8e9 + step if time is None else time, "kind": kind, "text": text}


def write_events(run: Path, *events: dict) -> None:
    (run / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in events) + '{"step": 3, "ti')


def test_figures_of_one_kind_share_a_chart_with_a_legend(tmp_path):
    def more(step):
        return {
            "modality/image/loss": 2.0 / step,
            "modality/text/loss": 6.0,
            "grad_norm/decoder": 0.001 * step if step != 2 else 0.0,
            "grad_norm/memory": 10.0,
            "mfu": 0.41,
        }

    run = write_run(tmp_path / "r", [record(step, **more(step)) for step in (1, 2, 40)], facts())
    page = rendered(run)
    assert page.all("svg", "aria-label", "loss, by modality: image, text")
    assert "image 0.05" in page.text and "text 6" in page.text
    assert "step 2: image 1, text 6" in page.text
    assert page.all("svg", "aria-label", "norm of the gradient, by part: decoder, memory")
    assert "log scale" in page.text.split("norm of the gradient, by part")[1][:20], "zeros do not count"
    targets = [a["href"] for a in page.all("a", "href")]
    assert targets == ["#curves", "#modalities", "#gradient", "#speed", "#parameters", "#configuration"]
    assert "Further figures" not in page.text, "what has a chart is not shown a second time"
    assert "MFU41.0 %" in page.text


def test_events_stand_on_a_time_line_and_in_a_table_the_latest_first(run):
    write_events(
        run,
        event(0, "start", "starts on 2 ranks"),
        event(40, "checkpoint", "saved as step-00000040"),
        event(55, "skipped", f"step 55 is skipped {HOSTILE}"),
        event(40, "resume", "goes on after step 40\nranks: 2 -> 1", time=1.8e9 + 500),
        event(60, "eclipse", "unheard of", time=1.8e9 + 520),
    )
    page = rendered(run)
    signs = [a["class"] for a in page.all("g", "class") if a["class"].startswith("k-")]
    assert signs == ["k-start", "k-checkpoint", "k-skipped", "k-resume", "k-other"]
    told = [
        text
        for text in ("unheard of", "goes on after step 40", "is skipped", "starts on 2")
        if text in page.text
    ]
    assert [page.text.index(text) for text in told] == sorted(page.text.index(text) for text in told)
    assert len(told) == 4 and "saved as" not in page.text
    for number in ("checkpoint 1", "skipped step 1", "eclipse 1"):
        assert number in page.text, number
    assert page.all("a", "href", "#events")


def test_time_in_which_nobody_ran_is_flat(tmp_path):
    """The line ends with the last record before a resume, and begins anew where the run went on."""
    records = [record(step) for step in (10, 20)] + [record(30) | {"time": 1.8e9 + 1000}]
    run = write_run(tmp_path / "r", records, facts())
    write_events(run, event(0, "start", time=1.8e9), event(20, "resume", time=1.8e9 + 990))
    page = rendered(run)
    figure = (run / "report.html").read_text().split('<section id="events">')[1]
    lines = re.findall(r'<path class="line" d="(M[^"]+)"', figure)
    assert [line.count("L") for line in lines] == [2, 1]
    assert len(page.all("g", "class", "k-resume")) == 1


def test_broken_events_are_left_out(run):
    broken = [
        {"step": 1},
        {"step": 1, "time": None, "kind": "start", "text": ""},
        event(2, "warning", "warning: x"),
    ]
    write_events(run, *broken)
    assert [each["text"] for each in read_run(run).events if each["kind"] == "warning"] == ["warning: x"]
    assert rendered(run).text.count("warning: x") == 1


def test_a_year_of_events_does_not_fill_the_page(run):
    write_events(
        run, *(event(step, "skipped", f"step {step} is skipped{' x' * 1000}") for step in range(1, 1000))
    )
    page = rendered(run)
    assert page.text.count("is skipped") == 60 and "The last 60 of 999" in page.text
    assert len(page.all("g", "class", "k-skipped")) <= 500
    assert len((run / "report.html").read_text()) < 300_000


def test_a_long_run_has_a_page_that_is_no_longer(tmp_path):
    """Ten thousand records and a thousand checkpoints, of a run that was started twice."""
    sizes = []
    for most in (1_000, 10_000):
        run = write_run(tmp_path / str(most), [record(step) for step in range(1, most)], facts())
        started = [event(0, "start"), event(most // 2, "resume")]
        write_events(run, *started, *(event(step, "checkpoint") for step in range(0, most, 10)))
        sizes.append(len(Path(render(run)).read_text()))
    assert sizes[1] < 1.2 * sizes[0]


def test_numbers_that_no_axis_has_a_place_for_are_left_out(tmp_path):
    records = [record(1), record(2, loss=1e300), record(3, loss=-1e300), record(4, time=math.nan)]
    run = write_run(tmp_path / "r", records, facts())
    write_events(run, event(0, "start"), event(4, "end", time=math.inf))
    page = rendered(run)
    assert "2 not finite" in page.text
    assert "step 4: done" not in page.text and "step 0: started" in page.text
