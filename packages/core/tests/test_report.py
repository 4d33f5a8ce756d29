"""The report page: everything that was logged is on it, it needs nothing else, and it survives anything."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from report_page import HOSTILE, LOSSES, Page, evaluation, facts, record, rendered, write_run

from spectranet import DataError
from spectranet.cli.report import report
from spectranet.report import render
from spectranet.report.curves import HEIGHT, LEFT, WIDTH, Curve, binned, draw, smoothed
from spectranet.report.numbers import count, duration, linear_ticks, log_ticks, percent, short
from spectranet.report.records import read_run


@pytest.fixture
def run(tmp_path) -> Path:
    records = [record(step) for step in (1, *range(10, 101, 10))]
    return write_run(tmp_path / "my-run", records, facts())


# ------------------------------------------------------------------------------------ the whole page


def test_the_page_asks_for_nothing_outside_itself(run):
    page = rendered(run)
    sources = [a[n] for _, a in page.elements for n in ("src", "href", "srcset", "data", "action") if n in a]
    assert [s for s in sources if not (s or "").startswith(("data:", "#"))] == []
    assert {"link", "iframe", "object", "embed"}.isdisjoint(tag for tag, _ in page.elements)
    html = (run / "report.html").read_text()
    for word in ("@import", "url(", "http", "fetch(", "import("):
        assert word not in html, word
    assert "prefers-color-scheme: dark" in html


def test_the_headline_counts_what_the_run_did(run):
    page = rendered(run)
    for told in ("my-run", "100 of 200", "3 min 20 s", "3,200", "4M", "0.16"):
        assert told in page.text, told


def test_a_loss_that_is_no_number_any_more_is_not_the_last_one(tmp_path):
    records = [record(1), record(10), record(20) | {"loss": None}]
    page = rendered(write_run(tmp_path / "lost", records, facts()))
    assert "last finite loss, step 10" in page.text and "last loss" not in page.text


def test_each_term_has_a_curve_with_all_its_points_and_its_last_value(run):
    page = rendered(run)
    for key, end in LOSSES.items():
        label = f"{key}: last value {short(end + 0.01)} at step 100"
        assert len(page.all("svg", "aria-label", label)) == 1, label
    assert [a["d"].count("M") for a in page.all("path", "class", "raw")][:7] == [11] * 7
    assert [a["d"].count("L") for a in page.all("path", "class", "line")][:7] == [10] * 7
    for key in ("loss", "lr", "grad_norm", "samples_per_s"):
        assert [a for a in page.all("svg", "aria-label") if a["aria-label"].startswith(f"{key}: ")], key
    assert "64 samples/s" in page.text and "step 50: 0.77" in page.text


def test_figures_that_are_no_loss_are_shown_too(tmp_path):
    run = write_run(tmp_path / "r", [record(s, **{"metric/scale": 14.5}) for s in (1, 2)], facts())
    assert "scale" in rendered(run).text and "Further figures (1)" in rendered(run).text


def test_links_at_the_top_lead_to_the_sections_that_are_there(run):
    page = rendered(run)
    targets = [a["href"] for a in page.all("a", "href")]
    assert targets == ["#curves", "#parameters", "#configuration"]
    assert all(any(a.get("id") == target[1:] for _, a in page.elements) for target in targets)


def test_what_was_asked_in_words_comes_first_and_opened(run):
    def direction(query, found):
        return {"source": "s", "query": "a", "candidate": "b", "rows": [{"query": query, "found": [found]}]}

    words, sound = {"kind": "text", "text": "a bell"}, {"kind": "audio", "uri": "data:audio/wav;base64,AA=="}
    gallery = {"s/audio-text": direction(sound, words), "s/text-audio": direction(words, sound)}
    (run / "gallery.json").write_text(json.dumps(gallery))
    shown = rendered(run).all("details", "data-direction")
    assert [(a["data-direction"], "open" in a) for a in shown] == [
        ("s/text-audio", True),
        ("s/audio-text", False),
    ]


def test_parameters_add_up(run):
    text = rendered(run).text
    assert "decoder3,000,00075.0 %" in text and "total4,000,000" in text


def test_a_second_drawing_replaces_the_first_and_leaves_nothing_else(run):
    render(run)
    write_run(run, [record(7)])
    assert "7 of 200" in rendered(run).text
    assert sorted(p.name for p in run.iterdir()) == ["metrics.jsonl", "report.html", "run.json"]


def test_hostile_names_are_text(tmp_path):
    figures = {
        f"loss/{HOSTILE}": 1.0,
        f"metric/{HOSTILE}": 1.0,
        f"eval/{HOSTILE}/a-b/R@1": 0.5,
        f"eval/{HOSTILE}": 2,
    }
    told = facts(parameters={HOSTILE: 5}, plugins=[{"distribution": HOSTILE}], config={HOSTILE: HOSTILE})
    gallery = {
        HOSTILE: {
            "source": HOSTILE,
            "query": HOSTILE,
            "candidate": HOSTILE,
            "rows": [
                {
                    "query": {"key": HOSTILE, "kind": "text", "text": HOSTILE},
                    "found": [
                        {"key": HOSTILE, "kind": "image", "uri": "http://elsewhere/x.png", "score": 1.0},
                        {
                            "key": HOSTILE,
                            "kind": "image",
                            "uri": 'data:image/png;base64,AA" onerror="x',
                            "score": 1.0,
                        },
                    ],
                    "answer": {"key": HOSTILE, "kind": "none", "note": HOSTILE},
                    "place": HOSTILE,
                }
            ],
        }
    }
    run = write_run(tmp_path / "a&b<i>", [record(1, **figures)], told)
    (run / "gallery.json").write_text(json.dumps(gallery))
    page = rendered(run)
    tags = [tag for tag, _ in page.elements]
    plain = rendered(write_run(tmp_path / "plain", [record(1)], facts()))
    assert tags.count("script") == [tag for tag, _ in plain.elements].count("script") and "i" not in tags
    assert not [a for _, a in page.elements if "onerror" in a]
    assert page.all("img", "src") == []
    assert page.text.count(HOSTILE) >= 8 and "a&b<i>" in page.text


# ---------------------------------------------------------------------------------------- evaluation


def test_without_an_evaluation_there_is_no_table_of_it(run):
    assert "Held-out" not in rendered(run).text


def test_the_last_evaluation_is_in_the_table_with_a_bar_and_its_chance(tmp_path):
    run = write_run(
        tmp_path / "r", [record(10), evaluation(10, 0.25), record(20), evaluation(20, 0.5)], facts()
    )
    page = rendered(run)
    assert "text → image held50.0 %75.0 %1.0 %1003.5" in page.text
    assert page.all("b", "style")[0]["style"] == "width:50.00%"
    assert [a["style"] for a in page.all("i", "style")] == ["left:1.00%"]
    curve = [
        a for a in page.all("svg", "aria-label") if a["aria-label"].startswith("eval/held/text-image/R@1")
    ]
    assert [a["aria-label"] for a in curve] == ["eval/held/text-image/R@1: last value 50 % at step 20"]


def test_one_evaluation_makes_no_curve_and_other_figures_are_listed(tmp_path):
    records = [record(10), evaluation(10, 0.25) | {"eval/held/perplexity": 12.5}]
    page = rendered(write_run(tmp_path / "r", records, facts()))
    assert not [a for a in page.all("svg", "aria-label") if a["aria-label"].startswith("eval/")]
    assert "held/perplexity12.5" in page.text


# ------------------------------------------------------------------------------------ damaged records


def test_half_a_last_line_is_passed_over(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 110, "time": 18000')
    assert "100 of 200" in rendered(run).text


def test_lines_that_are_no_records_are_passed_over(tmp_path):
    run = write_run(tmp_path / "r", [[1], {"time": 1.0}, {"step": True}, record(5)], facts())
    assert len(read_run(run).records) == 1 and "5 of 200" in rendered(run).text


def test_values_that_are_no_numbers_are_counted_and_not_drawn(tmp_path):
    records = [record(1), record(2, loss=math.nan), record(3, loss=math.inf), record(4, lr="high")]
    run = write_run(tmp_path / "r", records, facts())
    assert read_run(run).series("loss") == [(1, 16.0), (4, 4.0)]
    page = rendered(run)
    assert "2 not finite" in page.text and "nan" not in (run / "report.html").read_text()


def test_a_curve_without_any_finite_value_says_so(tmp_path):
    run = write_run(tmp_path / "r", [record(1, loss=math.nan)], facts())
    assert "no finite value (1 logged)" in rendered(run).text


@pytest.mark.parametrize("told", [None, "{half", "[1]"])
def test_without_a_readable_run_json_the_curves_remain_and_the_page_says_so(tmp_path, told):
    run = write_run(tmp_path / "r", [record(5)])
    if told is not None:
        (run / "run.json").write_text(told)
    page = rendered(run)
    assert "run.json" in page.text and page.all("svg", "aria-label")


def test_no_run_says_who_what_and_the_next_command(tmp_path):
    with pytest.raises(DataError, match=r"report: '.*nowhere' is not a run") as error:
        render(tmp_path / "nowhere")
    assert "spectranet train run_dir=" in str(error.value)


def test_an_empty_run_says_who_what_and_the_next_command(tmp_path):
    run = write_run(tmp_path / "r", [], facts())
    with pytest.raises(DataError, match="has logged nothing yet") as error:
        render(run)
    assert f"spectranet report {run}" in str(error.value)
    assert not (run / "report.html").exists()


# --------------------------------------------------------------------------------- curves and numbers


def test_binning_keeps_the_mean_and_the_last_step():
    points = [(i, float(i * i % 17)) for i in range(1000)]
    few = binned(points, 100)
    assert len(few) == 100 and few[-1][0] == 999
    assert sum(v for _, v in few) / 100 == pytest.approx(sum(v for _, v in points) / 1000)
    assert binned(points[:100], 100) == points[:100]


def test_smoothing_keeps_lines_and_ends_and_calms_noise():
    line = [(i, 3.0 * i - 5) for i in range(200)]
    assert [v for _, v in smoothed(line)] == pytest.approx([v for _, v in line])
    noise = [(i, float((-1) ** i)) for i in range(200)]
    calm = smoothed(noise)
    assert calm[0] == noise[0] and calm[-1] == noise[-1]
    assert max(abs(v) for _, v in calm[20:-20]) < 0.05


def test_a_long_curve_stays_small_and_inside_its_frame():
    points = [(i, math.sin(i / 500) + 0.1 * (-1) ** i) for i in range(1, 100_001)]
    page = Page(draw(Curve("loss/x", "x", points)))
    assert page.faults == []
    (line,), (raw,) = page.all("path", "class", "line"), page.all("path", "class", "raw")
    assert line["d"].count("L") < 300 and raw["d"].count("M") <= 500
    for place in line["d"][1:].split("L"):
        x, y = map(float, place.split())
        assert LEFT <= x <= WIDTH and 0 <= y <= HEIGHT


def test_the_axis_is_logarithmic_where_values_span_much_and_says_so():
    wide = [(i, 1000.0 / i**2) for i in range(1, 50)]
    assert "log scale" in draw(Curve("g", "g", wide))
    assert "log scale" not in draw(Curve("g", "g", wide, from_zero=True))


@pytest.mark.parametrize(
    "points", [[(5, 0.0)], [(5, 1.5)], [(5, 2.0), (6, 2.0)], [(0, -1e9), (1, 1e9)], [(1, 1e-30)]]
)
def test_few_or_equal_points_are_drawn(points):
    assert Page(draw(Curve("k", "k", points))).faults == []


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.31, 0.47), (-3, 12), (4.2e-6, 9.1e-6), (0, 123456)])
def test_ticks_are_even_round_few_and_within(low, high):
    ticks = linear_ticks(low, high)
    assert 2 <= len(ticks) <= 5 and low - 1e-9 <= ticks[0] and ticks[-1] <= high + 1e-9
    steps = [b - a for a, b in pairwise(ticks)]
    assert steps == pytest.approx([steps[0]] * len(steps))


def test_logarithmic_ticks_are_few_and_within():
    for low, high in ((0.5, 40), (1e-6, 1e6), (0.9, 31)):
        ticks = log_ticks(low, high)
        assert 2 <= len(ticks) <= 5 and all(low * 0.99 <= t <= high * 1.01 for t in ticks)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1"),
        (0.79063, "0.791"),
        (11.418, "11.4"),
        (100.0, "100"),
        (1230, "1,230"),
        (999.7, "1,000"),
        (12000, "12k"),
        (2_047_000, "2.05M"),
        (1e9, "1G"),
        (2.5e30, "2.5e30"),
        (7e-4, "7e-4"),
        (9.1e-5, "9.1e-5"),
        (-0.5, "-0.5"),
    ],
)
def test_numbers_read_short(value, text):
    assert short(value) == text


def test_counts_shares_and_durations():
    assert count(1234567.0) == "1,234,567"
    assert [percent(p) for p in (0, 0.0014, 0.4567, 1)] == ["0.0 %", "0.14 %", "45.7 %", "100.0 %"]
    assert [duration(s) for s in (0, 52.4, 724, 3600, 12000, 187200)] == [
        *("0 s", "52 s", "12 min 4 s", "1 h", "3 h 20 min", "2 d 4 h")
    ]


# -------------------------------------------------------------------------------------- command line


def test_the_command_prints_where_the_page_is(run):
    result = CliRunner().invoke(report, [str(run)])
    assert result.exit_code == 0 and result.output.strip() == str(run / "report.html")
    assert (run / "report.html").is_file()
