"""The reference pages say what the sources say, and every public name is on one of them."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
import generate

import spectranet
from spectranet import hookspecs

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
HOOKS = [name for name, value in vars(hookspecs).items() if hasattr(value, "spectranet_spec")]
DECLARED = [name for name in spectranet.__all__ if dataclasses.is_dataclass(getattr(spectranet, name))]


def section(page: str, title: str) -> str:
    """What stands under a heading, up to the next; nothing where there is no such heading."""
    found = re.split(r"^##+ (.*)$", (REFERENCE / page).read_text(), flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True)).get(title, "")


@pytest.mark.parametrize("page", generate.pages())
def test_a_generated_page_is_up_to_date(page: str) -> None:
    kept = (generate.DOCS / page).read_text()

    assert kept == generate.pages()[page], "renew it:  python docs/generate.py"


@pytest.mark.parametrize("name", spectranet.__all__)
def test_a_public_name_is_documented(name: str) -> None:
    if name == "hookimpl":
        assert "`@hookimpl`" in (REFERENCE / "hooks.md").read_text()
        return
    text = section("contracts.md", name) or section("names.md", name)

    assert text, f"{name} is in spectranet.__all__ and on no reference page"
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert len(prose.split()) >= 5, f"the reference says too little of {name}"


@pytest.mark.parametrize("name", DECLARED)
def test_a_declaration_has_every_field_with_its_default(name: str) -> None:
    text = section("contracts.md", name) or section("names.md", name)

    for field in dataclasses.fields(getattr(spectranet, name)):
        (line,) = re.findall(rf"^- `({field.name}\b.*?)`(?:<br>)?$", text, flags=re.MULTILINE)
        has_none = field.default is field.default_factory is dataclasses.MISSING
        assert (" = " in line) is not has_none


def test_hooks_stand_in_their_order_each_with_arguments_and_a_first_party_example() -> None:
    page = (REFERENCE / "hooks.md").read_text()
    assert re.findall(r"^## (.*)", page, flags=re.MULTILINE) == HOOKS

    for hook in HOOKS:
        text = section("hooks.md", hook)
        for argument in inspect.signature(getattr(hookspecs, hook)).parameters:
            assert re.search(rf"\b{argument}: ", text)
        assert re.search(r"^Called (when|every|once)", text, flags=re.MULTILINE), f"when is {hook} called?"
        assert "@hookimpl" in text, f"{hook} has no first-party example"


def test_an_excerpt_has_what_it_names_and_nothing_else() -> None:
    text = "A = 1\nB = [A]\nC = 2\n\n\nclass Host:\n    @mark\n    def hook(self):\n        return B\n"

    assert (
        generate.hooks.implementations(text, "hook")
        == "A = 1\n\n\nB = [A]\n\n\n@mark\ndef hook(self):\n    return B"
    )
    assert generate.hooks.implementations(text, "other") == ""
