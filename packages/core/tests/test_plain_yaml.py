"""Configuration text is plain data: it runs nothing, surprises nobody, and is read back as written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectranet.config.plain_yaml import read_yaml, write_value
from spectranet.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: !!python/object/apply:os.system [echo]", "tags are not supported"),
        ("a: !env HOME", "tags are not supported"),
        ("!!map {a: 1}", "tags are not supported"),
        ("a: &x [1]\nb: *x", "anchors and aliases are not supported"),
        ("a: 1\na: 2", "key 'a' occurs twice"),
        ("1: 2", "a key must be text"),
        ("a: [", "expected"),
        ("[" * 600, "not readable as YAML: maximum recursion depth"),
        ("a: " + "9" * 5000, "not readable as YAML: Exceeds the limit"),
        ("x" * 1_000_001, "larger than"),
        ("a: \x00", "not readable as YAML: unacceptable character"),
    ],
)
def test_yaml_is_plain_data_only(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        read_yaml(text, "file x")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-4", 5e-4), ("1E3", 1000.0), ("-.5", -0.5), ("3.", 3.0), ("1_000", 1000), ("-7", -7), ("0", 0),
        ("007", "007"), ("no", "no"), ("On", "On"), ("1:30", "1:30"), ("2024-01-01", "2024-01-01"),
        ("true", True), ("null", None), ("~", None), ("~/data", "~/data"), ("a/{0..9}.tar", "a/{0..9}.tar"),
        ("1.2.3", "1.2.3"),
        ("<<", "<<"), ("0x10", "0x10"), ("'1'", "1"), ("e5", "e5"), (".", "."),
    ],
)  # fmt: skip
def test_implicit_types_are_few(text: str, value: object) -> None:
    read = read_yaml(text, "text")
    assert read == value and type(read) is type(value)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab.- :#1", max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(PLAIN)
def test_what_is_written_on_one_line_is_read_back(value: object) -> None:
    text = write_value(value)
    assert len(text.splitlines()) == 1
    assert read_yaml(text, "text") == value
