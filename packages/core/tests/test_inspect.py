"""The survey of training data: its figures are right, bad samples do not break it, and it reads little."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from numbers_modality import decode, numbers

from spectranet import ConfigError, DataError, Preview, RawSample, Reader, SourceConfig
from spectranet.config import Config, DataConfig, EvalConfig, TrainConfig
from spectranet.data.mixing import Mixture
from spectranet.data.schedule import Schedule
from spectranet.survey.charts import bar_edges, histogram
from spectranet.survey.figures import Distribution
from spectranet.survey.page import survey_page
from spectranet.survey.survey import SourceSurvey, Survey, make_survey
from spectranet.survey.terminal import as_text

PNG = b"\x89PNG\r\n\x1a\n"


@dataclass
class Memory:
    """A sample set of rows made on demand: row i is what ``content(i)`` says."""

    size: int
    content: Any
    found: Mapping[str, int] | Sequence[str] = ("left",)
    dropped: Mapping[str, int] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    rows_read: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return self.size

    def read(self, row: int, wanted: Sequence[str]) -> RawSample:
        self.rows_read.append(row)
        content = self.content(row)
        if isinstance(content, Exception):
            raise content
        return RawSample(f"<row {row}>", dict.fromkeys(wanted, content))


def readers(**sets: Memory) -> list[Reader]:
    return [Reader("memory", lambda path: path in sets, lambda path, options: sets[path])]


def text_of_numbers(config: Any, raw: np.ndarray) -> dict[str, float]:
    return {"first_px": raw[0], "sum": raw.sum(), "long_share": float(len(raw) > 2)}


def pieces(config: Any, values: Any, hidden_N: np.ndarray) -> list[Preview]:
    shown = [(f"{x:.0f}<", bool(h)) for x, h in zip(values.data["x"], hidden_N, strict=True)]
    return [Preview("text", pieces=shown), Preview("image", PNG + b"0")]


LEFT = replace(numbers("left"), describe=text_of_numbers, preview=pieces)


def survey(
    sets: Mapping[str, Memory],
    *,
    samples: int = 256,
    left: Any = LEFT,
    data: dict | None = None,
    held_out: Mapping[str, str] | None = None,
    **train: Any,
) -> Survey:
    """``held_out``: name of a source to evaluate on -> which of ``sets`` it is."""
    tests = {name: SourceConfig(path=path, modalities=["left"]) for name, path in (held_out or {}).items()}
    trained_on = sets.keys() - set((held_out or {}).values())
    sources = {name: SourceConfig(path=name, modalities=["left"]) for name in sets if name in trained_on}
    config = Config(
        data=DataConfig(**{"sources": sources, "threads": 1} | (data or {})),
        train=TrainConfig(**{"steps": 10, "global_batch": 24, "slots": 4} | train),
        eval=EvalConfig(sources=tests),
    )
    return make_survey(config, {"left": left}, readers(**sets), samples=samples)


def one(content: Any, size: int = 8, **options: Any) -> SourceSurvey:
    return survey({"s": Memory(size, content)}, **options).sources[0]


def distribution(found: SourceSurvey, title: str) -> Distribution:
    return next(each for each in found.figures.distributions if each.title == title)


# ------------------------------------------------------------------------------------------ figures


def test_figures_are_those_of_the_samples_with_their_units():
    found = one(lambda row: ",".join(["7"] * (1 + row % 4)).encode())

    assert distribution(found, "size").values.tolist() == [1, 1, 3, 3, 5, 5, 7, 7]
    assert distribution(found, "tokens").values.tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert distribution(found, "sum").values.tolist() == [7, 7, 14, 14, 21, 21, 28, 28]
    assert (distribution(found, "first").unit, distribution(found, "first").is_constant) == ("px", True)
    (long,) = found.figures.shares
    assert (long.title, long.number, long.of) == ("long", 4, 8)
    (same,) = found.figures.duplicates
    assert (same.number, same.of, same.most) == (4, 8, 2)


def test_a_huge_source_is_not_read_but_sampled_over_its_whole_length():
    memory = Memory(10**9, lambda row: b"1,2")

    found = survey({"s": memory}, samples=50).sources[0]

    assert found.looks.rows == 50 and len(found.looks.usable) == 50
    assert len(memory.rows_read) < 200
    seen = sorted(set(memory.rows_read))
    assert np.diff(seen).tolist() == [10**9 // 50] * 49


def test_a_count_of_duplicates_in_a_sample_is_a_lower_bound():
    sampled = survey({"s": Memory(900, lambda row: b"1,2")}, samples=30)
    complete = survey({"s": Memory(30, lambda row: b"1,2")}, samples=30)

    for told in (as_text, survey_page):
        assert "in the whole source at least as many" in " ".join(told(sampled).split())
        assert "same as an earlier one" in told(complete) and "at least as many" not in told(complete)


def test_a_modality_that_says_nothing_of_itself_has_sizes_and_tokens():
    found = one(lambda row: b"1,2", left=numbers("left"))

    assert [each.title for each in found.figures.distributions] == ["size", "tokens"]
    assert found.cards[0].draws["left"][0][0][0]["note"] == "modality 'left' has no preview"


def test_bars_count_every_value_once_and_whole_numbers_have_bars_of_their_own():
    rng = np.random.default_rng(0)
    for values in (
        rng.integers(3, 9, 50),
        rng.integers(0, 10**6, 50),
        rng.normal(size=50),
        rng.random(9) * 1e-9,
    ):
        ordered = np.sort(values.astype(np.float64))
        for log in (False, True) if ordered[0] > 0 else (False,):
            edges = bar_edges(ordered, log)
            assert np.histogram(ordered, edges)[0].sum() == len(ordered)
            assert len(edges) <= 31
    assert bar_edges(np.array([3.0, 5.0]), False).tolist() == [2.5, 3.5, 4.5, 5.5]


def test_a_wide_span_is_drawn_on_a_logarithmic_axis():
    wide = Distribution("image", "size", "B", np.array([100.0, 2_000.0, 50_000.0]))

    assert "log scale" in histogram(wide) and "100 B to 50 kB, median 2 kB" in histogram(wide)


def test_held_out_sources_are_looked_at_too_and_are_no_part_of_the_mixture():
    sets = {"a": Memory(60, lambda row: b"1,2"), "b": Memory(8, lambda row: b"1,2,3" if row else b"bad")}

    whole = survey(sets, held_out={"a": "b"})

    (trained_on,), (test,) = whole.sources, whole.held_out
    assert (trained_on.name, test.name) == ("a", "a, held out")
    assert distribution(test, "tokens").values.tolist() == [3.0] * 7
    assert [each.source for each in whole.seen.portions] == ["a"]
    assert any(
        line.startswith("held-out source 'a': 1 of 8") and line.endswith("evaluation leaves them out")
        for line in whole.warnings
    )
    assert "source a, held out: format memory, path b" in as_text(whole)
    page = survey_page(whole)
    assert "<h2>a, held out <small>8 samples" in page and page.count("What the model sees") == 1


# -------------------------------------------------------------------------------------- bad samples


def test_bad_samples_are_counted_by_reason_and_break_nothing():
    def content(row: int) -> Any:
        bad = {0: b"x", 1: b"y", 2: DataError("gone <b>"), 3: b""}
        return bad.get(row, b"1,2,3")

    whole = survey({"s": Memory(40, content)})
    (found,) = whole.sources

    assert len(found.looks.usable) == 36 and len(found.looks.failed) == 4
    assert [(number, key) for number, key, _ in found.reasons] == [
        (2, "<row 0>"),
        (1, "row 2"),
        (1, "<row 3>"),
    ]
    assert any(
        "4 of 40 samples cannot be used, more than data.failure_limit (1.0 %)" in line
        for line in whole.warnings
    )
    assert "gone &lt;b&gt;" in survey_page(whole) and "gone <b>" not in survey_page(whole)
    assert "cannot be used: 4 of 40 (10.0 %)" in as_text(whole)


def test_a_source_without_any_usable_sample_still_gives_a_page():
    whole = survey({"s": Memory(5, lambda row: b"x")})

    assert "cannot be used: 5 of 5" in as_text(whole)
    assert_whole_page(survey_page(whole))


def test_a_decoder_that_stumbles_is_reported_as_a_fault_of_its_plugin():
    def stumbling(content: bytes) -> np.ndarray:
        if content == b"5":
            raise IndexError("list index out of range")
        return decode(content)

    found = one(lambda row: str(row).encode(), left=replace(LEFT, decode=stumbling))

    ((number, _, reason),) = found.reasons
    assert number == 1 and reason.startswith("IndexError: list index out of range (a fault of a plugin")


def test_a_sample_that_does_not_end_is_given_up():
    def hanging(content: bytes) -> np.ndarray:
        if content == b"3":
            time.sleep(3)
        return decode(content)

    found = one(lambda row: str(row).encode(), left=replace(LEFT, decode=hanging), data={"stall_s": 0.3})

    assert len(found.looks.usable) == 7
    assert found.reasons[0][2].startswith("given up after 0.3 s")


def test_what_describes_or_shows_a_sample_may_fail_without_loss_of_the_rest():
    def broken(*args: Any) -> Any:
        raise KeyError("colour")

    whole = survey({"s": Memory(4, lambda row: b"1")}, left=replace(LEFT, describe=broken, preview=broken))

    assert len(whole.sources[0].looks.usable) == 4
    assert any("cannot describe its samples: KeyError: 'colour'" in line for line in whole.warnings)
    assert "its preview failed: KeyError" in survey_page(whole)


def test_broken_parts_and_rows_left_out_are_told():
    memory = Memory(30, lambda row: b"1", dropped={"sample without left": 3}, broken={"007.tar": "cut short"})

    text = as_text(survey({"s": memory}))

    assert "left out: 3 x sample without left" in text
    assert "broken: 007.tar: cut short" in text and "warning: source 's': 1 of 1 parts" in text


# -------------------------------------------------------------------------------------- the mixture


def test_the_mixture_is_what_the_schedule_deals():
    sets = {"a": Memory(30, lambda row: b"1"), "b": Memory(300, lambda row: b"1,2,3")}
    sources = {
        "a": SourceConfig(path="a", modalities=["left"], weight=0.3),
        "b": SourceConfig(path="b", modalities=["left"], weight=0.7),
    }
    seen = survey(sets, data={"sources": sources}, steps=7).seen
    assert seen is not None

    schedule = Schedule(Mixture.of([0.3, 0.7]), global_batch=24, slots=4)
    dealt: Counter[int] = Counter()
    for step in range(7):
        for address in schedule.micro_batches(step, 0):
            dealt[address.source] += len(address.ordinals)
    assert [each.samples for each in seen.portions] == [dealt[0], dealt[1]]
    assert [each.epochs for each in seen.portions] == [dealt[0] / 30, dealt[1] / 300]
    assert sum(each.share for each in seen.portions) == pytest.approx(1)
    assert seen.tokens_per_step() == {"left": pytest.approx((dealt[0] + 3 * dealt[1]) / 7)}


@pytest.mark.parametrize(
    ("size", "train", "warning"),
    [
        (24, {"steps": 5}, r"each of its 24 samples is seen 5 times"),
        (1000, {"steps": 10}, r"ends before one epoch of it; 76\.0 % of its 1,000 samples are never seen"),
        (5, {}, r"has 5 samples, fewer than the 6 of one slot"),
        (240, {"global_batch": 23}, r"train\.slots 4 does not divide train\.global_batch 23"),
    ],
)
def test_the_mixture_warns(size: int, train: dict[str, int], warning: str):
    whole = survey({"s": Memory(size, lambda row: b"1")}, **train)

    assert any(re.search(warning, line) for line in whole.warnings), whole.warnings


def test_a_mixture_that_sees_everything_a_few_times_is_not_warned_of():
    assert survey({"s": Memory(100, lambda row: b"%d" % row)}).warnings == []


def test_no_source_is_answered_with_the_next_command():
    with pytest.raises(ConfigError, match="spectranet data inspect --config"):
        survey({})


# ------------------------------------------------------------------------------------ page and text


class Tags(HTMLParser):
    """Which elements are open, and which addresses a page asks for."""

    VOID = ("meta", "img", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID and tag not in ("path", "rect"):
            self.open.append(tag)
        found = dict(attrs)
        self.addresses += [found[name] or "" for name in ("src", "href") if name in found]
        self.ids += [found["id"] or ""] if "id" in found else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("path", "rect"):
            assert self.open.pop() == tag


def assert_whole_page(html: str) -> None:
    """Every element is closed; it asks for nothing outside itself; its links lead somewhere."""
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    inside = [each for each in tags.addresses if each.startswith("#")]
    assert {each[1:] for each in inside} <= set(tags.ids)
    assert all(each.startswith(("#", "data:")) for each in tags.addresses)
    assert "url(" not in html and "@import" not in html


def test_the_page_is_one_file_and_shows_three_draws_of_each_card_as_the_model_sees_them():
    whole = survey({"s": Memory(40, lambda row: f"{row},{row}".encode()), "t": Memory(40, lambda row: b"1")})
    html = survey_page(whole)

    assert_whole_page(html)
    cards = whole.sources[0].cards
    assert len(cards) == 6 and all(len(card.draws["left"]) == 3 for card in cards)
    assert html.count('<figure class="draw">') == 2 * 6 * 3
    assert "&lt;row 0&gt;" in html and "<row" not in html
    assert "<i>0&lt;</i>" in html and "data:image/png;base64," in html


def test_hidden_tokens_are_marked(monkeypatch):
    monkeypatch.setattr("spectranet.survey.survey.hidden_ratios", lambda config, modalities: {"left": 0.5})

    whole = survey({"s": Memory(4, lambda row: b"1,2,3,4,5,6,7,8")})

    assert "<mark>" in survey_page(whole)
    assert re.search(r"8 tokens, \d hidden", survey_page(whole))


def test_a_page_that_is_large_enough_leaves_pictures_out(monkeypatch):
    monkeypatch.setattr("spectranet.survey.survey._PAGE_B", 2 * len(PNG + b"0"))

    html = survey_page(survey({"s": Memory(10, lambda row: b"1")}))

    assert html.count("data:image/png") == 2 and "the page is large enough" in html


def test_text_fits_80_columns_whatever_is_found():
    long = " ".join(["a reason that goes on"] * 12)
    memory = Memory(
        123_456_789,
        lambda row: DataError(long) if row % 2 else b"1,123456789",
        found={f"field_{i}": 10**i for i in range(9)},
        dropped={long: 12_345},
    )
    text = as_text(survey({"source-with-a-rather-long-name": memory}, samples=9))

    assert max(map(len, text.splitlines())) <= 80
