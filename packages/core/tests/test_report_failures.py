"""The report says which samples could not be used, and why; nothing of it where all could."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spectranet.report import render

HOSTILE = "<script>alert('x')</script>"
ESCAPED = "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;"


def page(run: Path, **figures: float) -> str:
    (run / "metrics.jsonl").write_text(json.dumps({"step": 10, "time": 1.8e9, "loss": 1.0} | figures) + "\n")
    return render(run).read_text(encoding="utf-8")


@pytest.fixture
def run(tmp_path) -> Path:
    """Two ranks that each list fifteen failures of five kinds, a note, and half a line."""
    (tmp_path / "failures").mkdir()
    for rank in range(2):
        lines = [
            {"step": 2, "source": "pictures", "key": f"{rank}/{i}", "reason": f"{'abcde'[i % 5]}: {HOSTILE}"}
            for i in range(15)
        ]
        # What was to take the place of one and was bad as well is no further failure.
        lines += [line | {"attempt": 1} for line in lines[:5]]
        note = {"step": 9, "source": "pictures", "note": "1000 are listed; the rest is only counted"}
        text = "".join(json.dumps(line) + "\n" for line in [*lines, note]) + '{"half a li'
        (tmp_path / "failures" / f"rank-{rank}.jsonl").write_text(text)
    return tmp_path


def test_failures_are_counted_by_source_with_the_commonest_reasons_and_an_example(run):
    html = page(run, **{"tried/pictures": 2_000.0, "failed/pictures": 30.0})

    assert 'href="#failures"' in html and "<h2>Samples that could not be used</h2>" in html
    for cell in ("2,000", "30", "1.5 %"):
        assert f'<td class="n">{cell}</td>' in html
    assert f"6 × <code>0/0</code>: a: {ESCAPED}" in html
    assert "and 2 further reasons" in html and HOSTILE not in html


def test_their_counts_are_no_curves(run):
    assert "failed/pictures" not in page(run, **{"tried/pictures": 2_000.0, "failed/pictures": 30.0})


def test_a_run_without_failures_has_no_table_of_them(run):
    assert "could not be used" not in page(run)
