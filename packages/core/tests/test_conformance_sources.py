"""All the ways in which a source can name what it imports are read, and all the files that a plugin has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from planted import Change, Field, field_in

from spectranet.plugins import discover, installed_first_party
from spectranet.testing.package.imported_names import imports, is_public
from spectranet.testing.package.own_sources import is_test, own_sources


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch.nn as nn", ["torch.nn"]),
        ("from spectranet import Loss, lazy", ["spectranet.Loss", "spectranet.lazy"]),
        ("def f():\n    from spectranet.train.loop import train", ["spectranet.train.loop.train"]),
        ("import spectranet as sn\nsn.train.loop", ["spectranet", "spectranet.train"]),
        ("x = lazy('spectranet.train:run')", ["spectranet.train.run"]),
        ("importlib.import_module('spectranet_text.values')", ["spectranet_text.values"]),
        ("__import__('acme_flir')", ["acme_flir"]),
        ("from . import encoder\nfrom .values import decode", []),
        ("group, url = 'spectranet.plugins.v1', 'http://a.b'\nimport_module(name)", []),
    ],
)
def test_imports_are_read(source: str, found: list[str]) -> None:
    assert [str(each) for each in imports(source)] == found


@pytest.mark.parametrize(
    ("source", "public", "public_in_tests"),
    [
        ("from spectranet import Modality", True, True),
        ("from spectranet import *", True, True),
        ("import spectranet", True, True),
        ("from spectranet import plugins", False, False),
        ("from spectranet.contracts import Modality", False, False),
        ("lazy('spectranet:chunked_cross_entropy')", True, True),
        ("from spectranet import testing", False, True),
        ("import spectranet.testing", False, True),
        ("from spectranet.testing import ModalityConformance", False, True),
        ("from spectranet.testing.clause import require", False, True),
        ("from spectranet.testings import x", False, False),
    ],
)
def test_what_the_core_offers(source: str, public: bool, public_in_tests: bool) -> None:
    (found,) = imports(source)

    assert (is_public(found, in_tests=False), is_public(found, in_tests=True)) == (public, public_in_tests)


def test_tests_are_told_by_their_place() -> None:
    names = ("spectranet_x/tests/data.py", "spectranet_x/test_y.py", "conftest.py", "spectranet_x/testing.py")

    assert [is_test(name) for name in names] == [True, True, True, False]


@pytest.fixture
def field(tmp_path: Path) -> Iterator[Field]:
    with field_in(tmp_path) as made:
        yield made


def sources_of(plugin: str) -> list[str]:
    (info,) = [info for info in discover() if info.name == plugin]
    return [name for name, _ in own_sources(info)]


def test_all_files_of_the_package_and_of_its_distribution_are_read(field: Field) -> None:
    field.plant("recall", "whole", Change("extra.py", "", "x = 1"))
    (field.folder / "spectranet_whole" / "deep").mkdir()
    (field.folder / "spectranet_whole" / "deep" / "new.py").write_text("")  # not in RECORD, as when editable
    (field.folder / "whole_tools.py").write_text("")
    with (field.folder / "spectranet_whole-0.1.0.dist-info" / "RECORD").open("a") as record:
        record.write("whole_tools.py,,\nspectranet_whole/gone.py,,\n")

    assert sorted(sources_of("whole")) == [
        "spectranet_whole/__init__.py",
        "spectranet_whole/deep/new.py",
        "spectranet_whole/extra.py",
        "spectranet_whole/match.py",
        "spectranet_whole/plugin.py",
        "spectranet_whole/recall.py",
        "whole_tools.py",
    ]


def test_a_plugin_may_be_a_single_module(field: Field) -> None:
    (field.folder / "acme_single.py").write_text("")
    field.plant("recall", "single", entries="[spectranet.plugins.v1]\nsingle = acme_single\n")

    assert sources_of("single")[0] == "acme_single.py"


@pytest.mark.skipif(not installed_first_party(discover()), reason="no plugin is installed beside the core")
def test_editable_installs_are_read_where_they_lie() -> None:
    name = installed_first_party(discover())[0]

    assert {f"spectranet_{name}/__init__.py", f"spectranet_{name}/plugin.py"} <= set(sources_of(name))
