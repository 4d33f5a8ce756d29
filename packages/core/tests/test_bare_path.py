"""What a path alone holds is guessed from its fields, and what is unclear is said."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from numbers_modality import numbers

from spectranet import DataError, OpenOptions, Reader, SourceConfig
from spectranet.survey.bare_path import guess_source, source_name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("shards/laion/{000..099}.tar", "laion"),
        ("pairs.jsonl", "pairs"),
        ("data/*.tar", "data"),
        ("s3://bucket/my set/part.tar", "part"),
        ("*.tar", "data"),
        ("/data/laion/00000.tar", "laion"),
        ("http://127.0.0.1:8000/{0..3}.tar", "data"),
        ("http://127.0.0.1:8000/emoji/0.tar", "emoji"),
        ("https://example.org/{0..3}.tar", "example"),
    ],
)
def test_a_source_is_named_after_its_path(path: str, name: str):
    assert source_name(path) == name


def test_a_message_of_many_fields_fits_80_columns():
    found = SimpleNamespace(found=[f"column_{i}" for i in range(30)])
    reader = Reader("named", lambda path: True, lambda path, options: found)
    long = {"sound": replace(numbers("sound", "wav"), fields=tuple(f"x{i}" for i in range(40)))}

    with pytest.raises(DataError) as error:
        guess_source("p", long, [reader], OpenOptions())

    lines = str(error.value).splitlines()
    assert max(map(len, lines[:-1])) <= 80 and lines[-1].startswith("  to say which is which:")
    assert "column_29" in str(error.value) and "sound: x0, x1" in str(error.value)


def guess(*found: str) -> tuple[SourceConfig, list[str]]:
    modalities = {
        "image": numbers("image", "jpg", "image"),
        "sound": numbers("sound", "wav", "mp4"),
        "clip": numbers("clip", "mp4", "webm"),
    }
    reader = Reader("named", lambda path: path == "p", lambda path, options: SimpleNamespace(found=found))
    return guess_source("p", modalities, [reader], OpenOptions())


def test_a_field_goes_to_the_modality_that_prefers_it_and_the_other_is_mentioned():
    source, notes = guess("mp4", "jpg", "json")

    assert source.modalities == ["clip", "image"] and source.fields == {}
    assert notes == ["'mp4' could give sound too: fields.sound=mp4, and sound among the modalities"]


def test_a_column_of_paths_is_read_as_what_it_names():
    source, _ = guess("image_path", "id")

    assert source.modalities == ["image"] and source.fields == {"image": "image_path"}


def test_fields_that_nothing_reads_are_answered_with_what_was_found():
    with pytest.raises(
        DataError, match=r"(?s)no loaded modality reads a field of it.*found: title.*fields\.MODALITY=title"
    ):
        guess("title")
    with pytest.raises(DataError, match=r"does not exist|no reader takes"):
        guess_source("nowhere.tar", {}, [], OpenOptions())
