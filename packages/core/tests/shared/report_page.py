"""A run's directory as tests write it, and its report taken apart."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

from spectranet.report import render

VOID = {"meta", "img", "br", "hr", "input", "link"}
LOSSES = {"loss/mmm.image": 0.75, "loss/mmm.text": 5.5, "loss/contrastive.image-text": 4.2}
HOSTILE = "<script>alert('x')</script>\"&"


class Page(HTMLParser):
    """A page taken apart: every element with its attributes, and what was not closed as it was opened."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.faults: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        self.faults += [f"<{tag}> stays open" for tag in self._open]

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str, name: str, value: str | None = None) -> list[dict[str, str | None]]:
        """Attributes of the elements that have an attribute, with this value if one is given."""
        return [a for t, a in self.elements if t == tag and name in a and value in (None, a[name])]


def write_run(directory: Path, records: list[dict], facts: dict | None = None) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    if facts is not None:
        (directory / "run.json").write_text(json.dumps(facts))
    return directory


def record(step: int, **more) -> dict:
    values = {"loss": 16 / step, "lr": 1e-3, "grad_norm": 2.0, "samples_per_s": 64.0, "seconds_per_step": 2.0}
    losses = {name: value + 1 / step for name, value in LOSSES.items()}
    return {"step": step, "time": 1.8e9 + step, **losses, **values} | more


def evaluation(step: int, recall: float) -> dict:
    figures = {"R@1": recall, "R@5": 0.75, "chance": 0.01, "candidates": 100.0, "median_rank": 3.5}
    return {"step": step, "time": 1.8e9 + step} | {f"eval/held/text-image/{k}": v for k, v in figures.items()}


def facts(**more) -> dict:
    config = {"train": {"steps": 200, "global_batch": 32}, "modalities": {"text": {}, "image": {}}}
    return (
        {"started": 1.8e9, "parameters": {"decoder": 3_000_000, "encoder text": 1_000_000}}
        | {
            "config": config,
            "plugins": [{"distribution": "spectranet-text", "version": "1.2.3"}],
            "ranks": 1,
            "versions": {"python": "3.11"},
        }
        | more
    )


def rendered(run: Path) -> Page:
    page = Page(render(run).read_text(encoding="utf-8"))
    assert page.faults == []
    return page
