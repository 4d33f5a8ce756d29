"""The gallery: the bytes of the samples that retrieval named, the right one marked."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from numbers_modality import numbers

from spectranet.config import Config, EvalConfig, SourceConfig
from spectranet.data.readers import readers
from spectranet.report.gallery import gallery_section
from spectranet.report.media import LARGEST_ITEM_B
from spectranet.tasks import gallery as gallery_module
from spectranet.tasks.gallery import build_gallery, write_gallery

PNG = b"\x89PNG\r\n\x1a\n"
STARTS = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xff\xe0",
    "image/webp": b"RIFF\x00\x00\x00\x00WEBP",
    "audio/wav": b"RIFF\x00\x00\x00\x00WAVE",
    "video/mp4": b"\x00\x00\x00\x18ftypisom",
}
MODALITIES = {
    "text": replace(numbers("text"), fields=("txt",)),
    "image": replace(numbers("image"), fields=("bin",)),
}
BIG = 7


@pytest.fixture
def config(tmp_path) -> Config:
    """A folder of ten samples: ``n.bin`` is a picture of its own bytes, ``n.txt`` a caption."""
    folder = tmp_path / "held"
    folder.mkdir()
    for n in range(10):
        (folder / f"{n}.bin").write_bytes(picture(n))
        (folder / f"{n}.txt").write_text(f"caption {n}")
    return Config(
        eval=EvalConfig(sources={"held": SourceConfig(path=str(folder), modalities=["image", "text"])})
    )


def picture(n: int) -> bytes:
    return PNG + bytes([n] * (LARGEST_ITEM_B if n == BIG else 20 + n))


def example(query: int, *ranked: int) -> dict:
    found = [{"key": str(n), "score": 0.9 - 0.1 * i, "right": n == query} for i, n in enumerate(ranked)]
    return {"query": str(query), "ranked": found}


def built(config: Config, direction: str, *examples: dict, **options) -> list[dict]:
    gallery = build_gallery({f"held/{direction}": list(examples)}, config, MODALITIES, readers(), **options)
    assert list(gallery) == [f"held/{direction}"]
    return gallery[f"held/{direction}"]["rows"]


def content(uri: str) -> bytes:
    return base64.b64decode(uri.partition(";base64,")[2])


def test_pictures_are_the_bytes_of_the_files_and_captions_their_text(config):
    (row,) = built(config, "text-image", example(3, 1, 3, 5))
    assert row["query"] == {"key": "3", "kind": "text", "text": "caption 3"}
    assert [each["kind"] for each in row["found"]] == ["image"] * 3
    assert [content(each["uri"]) for each in row["found"]] == [picture(n) for n in (1, 3, 5)]

    (row,) = built(config, "image-text", example(3, 1, 3, 5))
    assert content(row["query"]["uri"]) == picture(3)
    assert [each["text"] for each in row["found"]] == ["caption 1", "caption 3", "caption 5"]


def test_the_right_candidate_is_marked_in_the_gallery_and_on_the_page(config):
    (row,) = built(config, "text-image", example(3, 1, 3, 5))
    assert [each["right"] for each in row["found"]] == [False, True, False]
    assert row["place"] == 2 and row["answer"] is None

    gallery = build_gallery({"held/text-image": [example(3, 1, 3, 5)]}, config, MODALITIES, readers())
    cells = gallery_section(gallery).split('<div class="cell ')[1:]
    assert [cell.split('"')[0] for cell in cells] == ["wrong", "right", "wrong"]
    assert [
        base64.b64encode(picture(n)).decode() in cell for n, cell in zip((1, 3, 5), cells, strict=True)
    ] == [
        True,
        True,
        True,
    ]
    assert ["✓" in cell for cell in cells] == [False, True, False]


def test_an_answer_that_is_not_among_the_shown_stands_at_the_end(config):
    (row,) = built(config, "text-image", example(3, 0, 1, 2, 4, 5, 3), columns=5)
    assert len(row["found"]) == 5 and row["place"] == 6
    assert content(row["answer"]["uri"]) == picture(3)
    (row,) = built(config, "text-image", example(3, 0, 1), columns=5)
    assert row["place"] is None and content(row["answer"]["uri"]) == picture(3)
    html = gallery_section({"d": {"source": "s", "query": "a", "candidate": "b", "rows": [row]}})
    assert "answer, further down" in html


def test_examples_are_spread_over_the_source(config):
    rows = built(config, "text-image", *[example(n, n) for n in range(10)], per_direction=5)
    assert [row["query"]["key"] for row in rows] == ["0", "2", "4", "6", "8"]
    assert len(built(config, "text-image", example(1, 1), per_direction=5)) == 1


def test_too_large_items_leave_a_note(config):
    (row,) = built(config, "text-image", example(1, BIG, 1))
    assert row["found"][0]["kind"] == "none" and "too large" in row["found"][0]["note"]
    assert "uri" not in row["found"][0] and row["found"][1]["kind"] == "image"
    html = gallery_section({"d": {"source": "s", "query": "a", "candidate": "b", "rows": [row]}})
    assert "300 kB, too large to show" in html


def test_the_whole_gallery_stays_within_its_size(config, monkeypatch):
    monkeypatch.setattr(gallery_module, "LARGEST_GALLERY_B", 2 * len(picture(1)))
    (row,) = built(config, "text-image", example(9, 1, 1, 1, 9))
    assert [each["kind"] for each in row["found"]] == ["image", "image", "none", "none"]


def test_keys_that_are_gone_leave_a_note(config):
    (row,) = built(config, "text-image", example(1, 99, 1))
    assert row["found"][0] | {"score": 0} == {
        "key": "99",
        "kind": "none",
        "note": "not in the source any more",
        "score": 0,
        "right": False,
    }


@pytest.mark.parametrize(("media_type", "start"), STARTS.items())
def test_the_first_bytes_tell_how_an_item_is_shown(config, media_type, start):
    path = Path(config.eval.sources["held"].path) / "0.bin"
    path.write_bytes(start + b"rest")
    (row,) = built(config, "text-image", example(0, 0))
    assert row["found"][0]["kind"] == media_type.partition("/")[0]
    assert row["found"][0]["uri"].startswith(f"data:{media_type};base64,")
    assert content(row["found"][0]["uri"]) == start + b"rest"


def test_sounds_and_clips_have_controls_and_load_nothing_early():
    def item(media_type):
        return {"key": "k", "kind": media_type.partition("/")[0], "uri": f"data:{media_type};base64,AAAA"}

    row = {
        "query": item("audio/wav"),
        "found": [item("video/mp4") | {"score": 1.0, "right": True}],
        "place": 1,
    }
    html = gallery_section({"d": {"source": "s", "query": "a", "candidate": "v", "rows": [row]}})
    assert '<audio controls preload="none" src="data:audio/wav;base64,AAAA"></audio>' in html
    assert (
        '<video muted loop controls playsinline preload="metadata" src="data:video/mp4;base64,AAAA">' in html
    )


def test_bytes_of_no_known_form_leave_a_note_and_long_texts_are_cut(config):
    folder = Path(config.eval.sources["held"].path)
    (folder / "0.bin").write_bytes(b"\xff\x00\x80")
    (folder / "0.txt").write_text("x" * 5000)
    (row,) = built(config, "text-image", example(0, 0))
    assert row["found"][0]["note"] == "3 bytes of a form that is not shown"
    assert len(row["query"]["text"]) == 301


def test_directions_of_sources_that_are_gone_are_left_out(config):
    examples = {"gone/text-image": [example(1, 1)], "held/text-smell": [example(1, 1)], "held/text-image": []}
    assert build_gallery(examples, config, MODALITIES, readers()) == {}


# ----------------------------------------------------------------------------------- write_gallery


def run_with(tmp_path: Path, examples: object) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"step": 1, "time": 1.0, "loss": 2.0}\n')
    if examples is not None:
        (run / "retrieval.json").write_text(examples if isinstance(examples, str) else json.dumps(examples))
    return run


def test_a_run_gets_its_gallery_and_its_page(tmp_path, config):
    run = run_with(tmp_path, {"held/text-image": [example(3, 3, 1)]})
    assert write_gallery(run, config, MODALITIES, readers()) == ""
    assert base64.b64encode(picture(3)).decode() in (run / "report.html").read_text()
    assert list(json.loads((run / "gallery.json").read_text())) == ["held/text-image"]


def test_without_examples_there_is_a_page_and_no_gallery(tmp_path, config):
    run = run_with(tmp_path, None)
    assert write_gallery(run, config, MODALITIES, readers()) == ""
    assert (run / "report.html").is_file() and not (run / "gallery.json").exists()


@pytest.mark.parametrize("examples", ["{half", '{"held/text-image": [{"query": "1"}]}'])
def test_damaged_examples_are_a_line_of_warning_and_the_page_is_drawn(tmp_path, config, examples):
    run = run_with(tmp_path, examples)
    warning = write_gallery(run, config, MODALITIES, readers())
    assert warning.startswith("warning: the report has no new gallery: ") and "\n" not in warning
    assert (run / "report.html").is_file()


def test_no_run_at_all_is_a_line_of_warning(tmp_path, config):
    warning = write_gallery(tmp_path / "nowhere", config, MODALITIES, readers())
    assert warning.startswith("warning: the report was not written: ") and "\n" not in warning
