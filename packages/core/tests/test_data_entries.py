"""Entries of a sample's JSON as fields: what they hold, how they are named, what mistakes are answered."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from numbers_modality import numbers

from spectranet import DataError
from spectranet.config import DataConfig, SourceConfig
from spectranet.data.failures import Skipped, tally
from spectranet.data.readers import readers
from spectranet.data.source import Source, open_source

TEXT = numbers("text", "txt")


def write_sample(folder: Path, kind: str, entries: object) -> Path:
    """A tar or a folder with one sample that is a JSON file."""
    content = json.dumps(entries).encode()
    if kind == "folder":
        (folder / "a.json").write_bytes(content)
        return folder
    with tarfile.open(folder / "s.tar", "w") as tar:
        info = tarfile.TarInfo("a.json")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return folder / "s.tar"


def source_of(path: Path, field: str) -> Source:
    config = SourceConfig(path=str(path), modalities=["text"], fields={"text": field})
    return open_source("p", config, {"text": TEXT}, readers(), DataConfig())


def text_of(folder: Path, entries: object, field: str, kind: str = "tar") -> str:
    _, content = source_of(write_sample(folder, kind, entries), field).read(0)
    return content["text"].decode()


def refusal(folder: Path, entries: object, field: str, kind: str = "tar") -> str:
    with pytest.raises(DataError) as caught:
        text_of(folder, entries, field, kind)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["tar", "folder"])
@pytest.mark.parametrize(
    ("value", "called"), [(["a cat", "a dog"], "a list"), ({"en": "a cat"}, "an object")]
)
def test_a_list_or_an_object_is_no_text(tmp_path, kind, value, called):
    message = refusal(tmp_path, {"caption": value}, "json.caption", kind)

    assert message.endswith(f"a: 'json.caption' holds {called}, not one value")


@pytest.mark.parametrize(("value", "text"), [("ein Bär", "ein Bär"), (3, "3"), (0.5, "0.5"), (True, "true")])
def test_numbers_and_truth_values_are_their_json(tmp_path, value, text):
    assert text_of(tmp_path, {"Caption": value}, "json.caption") == text


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ({"meta": {"Alt": "nested"}}, "nested"),
        ({"meta.alt": "exact", "meta": {"alt": "nested"}}, "exact"),
        ({"meta": {"alt": {"x": 1}}, "META.ALT": "exact"}, "exact"),
    ],
)
def test_a_dotted_name_is_an_entry_of_that_name_or_a_path(tmp_path, entries: Mapping[str, object], text):
    assert text_of(tmp_path, entries, "json.meta.alt") == text


@pytest.mark.parametrize("entries", [{"meta": "flat"}, {"meta": {"title": "x"}}, {"meta": ["alt"]}])
def test_a_path_that_leads_nowhere_is_no_text(tmp_path, entries):
    assert "has no text (looked for json.meta.alt)" in refusal(tmp_path, entries, "json.meta.alt")


# ----------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_a_mistyped_name_is_answered_with_a_near_one_and_those_there_are(tmp_path, kind):
    entries = {"Caption": "a cat", "status": "success", "meta": {"alt": "x"}}

    assert refusal(tmp_path, entries, "json.capton", kind).endswith(
        "a' has no text (looked for json.capton). Did you mean 'caption'? "
        "Its JSON has 'caption, status, meta.alt'"
    )
    assert "Did you mean 'meta.alt'?" in refusal(tmp_path, entries, "json.meta.allt", kind)


@pytest.mark.parametrize("value", [None, ""])
def test_an_entry_that_is_empty_is_called_empty(tmp_path, value):
    message = refusal(tmp_path, {"caption": value, "captions": "x"}, "json.caption")

    assert message.endswith("has no text (looked for json.caption); its 'caption' is empty")


def test_samples_whose_other_entries_differ_have_one_reason(tmp_path):
    one = refusal(tmp_path, {"a": 1, "b": 2}, "json.caption")
    other = refusal(tmp_path, {f"x{i}": "y" for i in range(50)}, "json.caption")

    assert len(tally(Skipped.of("p", "s.tar/a", reason) for reason in (one, other))) == 1
    assert "x11, …'" in other and "x12" not in other


def test_json_that_is_nested_deep_is_named_down_to_some_level(tmp_path):
    deep: object = "x"
    for _ in range(400):
        deep = {"a": deep}

    assert "Its JSON has 'a.a.a.a.a'" in refusal(tmp_path, deep, "json.caption")
