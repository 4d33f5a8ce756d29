"""Within contract v1 the public surface only grows: what a published plugin relies on stays as it is."""

from __future__ import annotations

import copy
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import spectranet

PROGRAM = Path(__file__).parent / "surface" / "record.py"
Surface = dict[str, dict[str, dict[str, Any]]]


def _record() -> Any:
    spec = importlib.util.spec_from_file_location("record_surface", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


record = _record()
RECORDED: Surface = json.loads(record.RECORDED.read_text())
NOW: Surface = record.read_surface()


def test_what_published_plugins_rely_on_is_as_it_was() -> None:
    broken = record.breaks(RECORDED, NOW)

    assert broken == [], (
        "plugins that are published rely on these, and nobody here can edit them. Within v1 the contract "
        "only grows: keep the old beside the new, with a default; or make it part of v2, offered beside v1.\n"
        "  why: docs/authors/compatibility.md"
    )


def test_what_is_new_is_written_down() -> None:
    surface, added = record.with_additions(RECORDED, NOW, spectranet.__version__)

    assert added == [] and surface == RECORDED, (
        "new in the contract, and from now on there to stay. If that is meant, write it down and commit it:\n"
        "  python tests/surface/record.py"
    )


def without(part: str, name: str) -> Callable[[dict[str, Any]], None]:
    return lambda entry: entry[part].pop(name)


def with_part(part: str, name: str, how: str, first: bool = False) -> Callable[[dict[str, Any]], None]:
    def change(entry: dict[str, Any]) -> None:
        old = {key: value for key, value in entry[part].items() if key != name}
        entry[part] = {name: how, **old} if first else {**old, name: how}

    return change


def with_how(field: str, how: str) -> Callable[[dict[str, Any]], None]:
    return lambda entry: entry["fields"].update({field: how})


@pytest.mark.parametrize(
    ("section", "name", "change", "line"),
    [
        ("names", "Modality", without("fields", "fingerprint"), "Modality.fingerprint is gone"),
        ("names", "Modality", with_how("trunk", "required"), "Modality.trunk is required now"),
        (
            "names",
            "Modality",
            with_part("fields", "codec", "required"),
            "Modality.codec is new and required: who does not give it fails",
        ),
        (
            "names",
            "Rows",
            with_part("fields", "ids_RI", "required", first=True),
            "Rows has its parts in another order: ids_RI, vectors_RE, and not first vectors_RE, ids_RI",
        ),
        (
            "names",
            "Loss",
            with_part("fields", "unit", "optional", first=True),
            "Loss has its parts in another order: unit, sum, weight, metrics, "
            "and not first sum, weight, metrics",
        ),
        (
            "names",
            "Loss",
            with_part("fields", "metrics", "by name, optional"),
            "Loss.metrics can only be given by name now",
        ),
        (
            "names",
            "Loss",
            lambda entry: entry.update(frozen=True),
            "Loss is frozen now: who sets its fields cannot",
        ),
        ("names", "DataError", without("bases", "ValueError"), "DataError: is no ValueError any more"),
        (
            "names",
            "DataError",
            lambda entry: entry.update(kind="class"),
            "DataError was a exception and is a class",
        ),
        ("names", "Batch", without("members", "host"), "Batch.host is gone"),
        ("names", "Batch", with_part("members", "host", {}), "Batch.host is called in another way"),
        (
            "names",
            "SampleSet",
            with_part("members", "close", {"self": "required"}),
            "SampleSet.close is asked of every implementation",
        ),
        (
            "names",
            "SampleSet",
            lambda entry: entry["members"]["read"].update(retries="required"),
            "SampleSet.read.retries is new and required: who does not give it fails",
        ),
        (
            "names",
            "gather_tokens",
            without("arguments", next(iter(NOW["names"]["gather_tokens"]["arguments"]))),
            "gather_tokens.tokens_BND is gone",
        ),
        ("hooks", "spectranet_log", without("arguments", "run_dir"), "spectranet_log.run_dir is gone"),
        (
            "kit",
            "ModalityConformance",
            without("fields", "mask_step"),
            "ModalityConformance.mask_step is gone",
        ),
        (
            "kit",
            "ObjectiveConformance",
            with_part("fields", "scale", "by name, required"),
            "ObjectiveConformance.scale is new and required: who does not give it fails",
        ),
    ],
)
def test_each_kind_of_break_is_found(
    section: str, name: str, change: Callable[[dict[str, Any]], None], line: str
) -> None:
    changed = copy.deepcopy(NOW)
    change(changed[section][name])

    assert record.breaks(RECORDED, changed) == [line]


@pytest.mark.parametrize("section", ["names", "hooks", "kit"])
def test_every_name_and_every_hook_is_missed(section: str) -> None:
    assert record.breaks(RECORDED, NOW | {section: {}}) == [f"{name} is gone" for name in RECORDED[section]]


def test_what_a_suite_lets_its_subclass_set_is_documented() -> None:
    page = (PROGRAM.parents[2] / "docs" / "authors" / "testing.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    suites = [entry for entry in NOW["kit"].values() if entry["kind"] == "conformance"]

    assert len(suites) == 2
    for setting in {name for suite in suites for name in suite["fields"]}:
        assert any(f"`{setting}`" in row.split(" | ")[0] for row in rows), f"{setting} is in no table"


@pytest.mark.parametrize(
    ("section", "name", "change", "added"),
    [
        ("names", "Modality", with_part("fields", "codec", "optional"), "names.Modality.fields.codec"),
        ("names", "Loss", with_part("fields", "unit", "by name, optional"), "names.Loss.fields.unit"),
        ("names", "Config", with_part("fields", "new", "required", first=True), "names.Config.fields.new"),
        (
            "hooks",
            "spectranet_log",
            with_part("arguments", "rank", "argument"),
            "hooks.spectranet_log.arguments.rank",
        ),
    ],
)
def test_what_only_adds_is_no_break_and_is_noticed(
    section: str, name: str, change: Callable[[dict[str, Any]], None], added: str
) -> None:
    changed = copy.deepcopy(NOW)
    change(changed[section][name])

    surface, additions = record.with_additions(RECORDED, changed, "9.9.0")

    assert record.breaks(RECORDED, changed) == []
    assert additions == [added]
    assert json.dumps(surface).count("since 9.9.0") == 1
