"""Plugins are found without being imported, and every mistake is told with the next command."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from throwaway import DECLARATIONS, Shelf, shelf_in

import spectranet
from spectranet.errors import PluginError
from spectranet.plugins import FIRST_PARTY, PluginHost, discover, installed_first_party


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    with shelf_in(tmp_path, monkeypatch) as made:
        yield made


def refusal(*names: str, origin: str = "--plugins") -> str:
    with pytest.raises(PluginError) as caught:
        PluginHost.load(names, origin)
    return str(caught.value)


# --------------------------------------------------------------------------------- finding, choosing


def test_discovery_reads_metadata_and_imports_nothing(shelf: Shelf) -> None:
    shelf.put("lidar", "raise AssertionError('imported')", version="0.4.1")
    shelf.put("sonar", "", api=2, distribution="acme-sonar")

    found = discover()

    assert [(i.name, i.distribution, i.version, i.api, i.target) for i in found] == [
        ("lidar", "spectranet-lidar", "0.4.1", 1, "spectranet_lidar.plugin"),
        ("sonar", "acme-sonar", "0.1.0", 2, "spectranet_sonar.plugin"),
    ]
    assert "spectranet_lidar" not in sys.modules


def test_only_chosen_plugins_are_imported(shelf: Shelf) -> None:
    shelf.modality("lidar")
    shelf.put("broken", "raise AssertionError('imported')")

    host = PluginHost.load(["lidar"])

    assert host.names == ["lidar"]
    assert list(host.modalities) == ["lidar"]
    assert "spectranet_broken" not in sys.modules


def test_default_choice_is_the_installed_first_party(shelf: Shelf) -> None:
    shelf.modality("vision", "image")
    shelf.modality("lidar")
    shelf.modality("text", distribution="somebodys-text")

    assert installed_first_party(discover()) == ["text", "vision"]


def test_unknown_name(shelf: Shelf) -> None:
    for name in ("audio", "objectives", "text", "vision"):
        shelf.modality(name)

    assert refusal("visoin") == (
        "unknown plugin 'visoin' (from --plugins). Did you mean 'vision'?\n"
        "  installed: audio, objectives, text, vision"
    )
    assert refusal("qqq", origin="plugins in file x.yaml") == (
        "unknown plugin 'qqq' (from plugins in file x.yaml).\n  installed: audio, objectives, text, vision"
    )


def test_the_package_name_is_a_near_miss(shelf: Shelf) -> None:
    assert "Did you mean 'vision'?\n  installed: none" in refusal("spectranet-vision")


def test_first_party_that_is_not_installed(shelf: Shelf) -> None:
    assert refusal("audio") == (
        "plugin 'audio' is not installed.\n  install it:  python -m pip install spectranet-audio"
    )


def test_all_names_that_cannot_be_found_are_told_at_once(shelf: Shelf) -> None:
    assert refusal("audio", "qqq").splitlines() == [
        "plugin 'audio' is not installed.",
        "  install it:  python -m pip install spectranet-audio",
        "unknown plugin 'qqq' (from --plugins).",
        "  installed: none",
    ]


def test_another_api_major(shelf: Shelf) -> None:
    shelf.put("lidar", "raise AssertionError('imported')", version="0.4.1", api=2)

    assert refusal("lidar") == (
        "plugin 'lidar' (spectranet-lidar 0.4.1) targets plugin API v2; "
        f"spectranet-core {spectranet.__version__} provides v1.\n"
        "  look for a newer one:  python -m pip install --upgrade spectranet-core"
    )


def test_a_group_that_only_looks_like_ours(shelf: Shelf) -> None:
    shelf.modality("lidar")
    [entry] = shelf.folder.glob("spectranet_lidar-*/entry_points.txt")
    entry.write_text("[spectranet.plugins]\nlidar = spectranet_lidar.plugin\n")

    assert refusal("lidar") == (
        "plugin 'lidar' (spectranet-lidar 0.1.0) is offered in the entry-point group 'spectranet.plugins', "
        "which is not read.\n"
        '  name the group [project.entry-points."spectranet.plugins.v1"] in its pyproject.toml, '
        "and install it again"
    )


def test_an_older_api_major(shelf: Shelf) -> None:
    shelf.put("lidar", "raise AssertionError('imported')", version="0.4.1", api=0)

    assert refusal("lidar").splitlines()[1] == (
        "  look for a newer one:  python -m pip install --upgrade spectranet-lidar"
    )


def test_of_two_api_majors_ours_is_taken(shelf: Shelf) -> None:
    shelf.modality("lidar")
    shelf.put("lidar", "", module="next_lidar", distribution="next-lidar", api=2)

    assert list(PluginHost.load(["lidar"]).modalities) == ["lidar"]


def test_one_name_offered_by_two_distributions(shelf: Shelf) -> None:
    shelf.modality("thermal", version="0.3.0")
    shelf.modality("thermal", distribution="acme-flir", version="1.1.0", module="acme_flir.spectranet")
    shelf.modality("lidar")

    assert refusal("thermal") == (
        "plugin 'thermal' is offered by two distributions:\n"
        "  acme-flir 1.1.0           (acme_flir.spectranet)\n"
        "  spectranet-thermal 0.3.0  (spectranet_thermal.plugin)\n"
        "  uninstall all but one of them:  python -m pip uninstall acme-flir"
    )
    assert PluginHost.load(["lidar"]).names == ["lidar"], "it bothers nobody who does not name it"


# ------------------------------------------------------------------------------------------ claims


def test_one_modality_claimed_by_two_plugins(shelf: Shelf) -> None:
    shelf.modality("thermal", version="0.3.0")
    shelf.modality(
        "flir", "thermal", distribution="acme-flir", version="1.1.0", module="acme_flir.spectranet"
    )

    assert refusal("thermal", "flir") == (
        "modality 'thermal' is claimed by two plugins:\n"
        "  thermal  spectranet-thermal 0.3.0  (spectranet_thermal.plugin)\n"
        "  flir     acme-flir 1.1.0           (acme_flir.spectranet)\n"
        "  keep one of them in --plugins."
    )


@pytest.mark.parametrize(
    ("kind", "hook", "thing"),
    [
        ("objective", "spectranet_objectives", "objective('same')"),
        ("task", "spectranet_tasks", "task('same')"),
        ("reader", "spectranet_readers", "Reader('same', nothing, nothing)"),
        ("preset", "spectranet_presets", "Preset('same', '', '')"),
        ("trunk", "spectranet_modalities", "modality(__name__[-8:], Trunk('same', Options, nothing))"),
    ],
)
def test_everything_else_that_has_a_name_can_be_claimed_once(
    shelf: Shelf, kind: str, hook: str, thing: str
) -> None:
    for name in ("one", "two"):
        source = DECLARATIONS + f"@hookimpl\ndef {hook}():\n    return [{thing}]\n"
        shelf.put(name, source, module=f"plug_{name}")

    assert refusal("one", "two").splitlines() == [
        f"{kind} 'same' is claimed by two plugins:",
        "  one  spectranet-one 0.1.0  (plug_one)",
        "  two  spectranet-two 0.1.0  (plug_two)",
        "  keep one of them in --plugins.",
    ]


def test_a_name_of_the_core_cannot_be_claimed(shelf: Shelf) -> None:
    source = DECLARATIONS + (
        "@hookimpl\ndef spectranet_readers():\n    return [Reader('webdataset', nothing, nothing)]\n"
    )
    shelf.put("tars", source)

    assert refusal("tars").splitlines()[-1] == "  drop 'tars' from --plugins."


def test_one_plugin_may_share_a_trunk_but_not_declare_a_name_twice(shelf: Shelf) -> None:
    trunk = "TRUNK = Trunk('vit', Options, nothing)\n@hookimpl\ndef spectranet_modalities():\n    return "
    shelf.put("fine", DECLARATIONS + trunk + "[modality('a', TRUNK), modality('b', TRUNK)]\n")
    shelf.put("twice", DECLARATIONS + trunk + "[modality('c'), modality('c')]\n")

    assert list(PluginHost.load(["fine"]).trunks) == ["vit"]
    assert refusal("twice") == "plugin 'twice' (spectranet-twice 0.1.0) declares modality 'c' twice."


# ------------------------------------------------------------------------------------------ running


def test_hooks_run_in_the_order_of_names_whatever_the_order_of_choice(shelf: Shelf) -> None:
    for name in ("b", "c", "a"):
        source = (
            DECLARATIONS
            + f"@hookimpl\ndef spectranet_check_config(config):\n    yield '{name}'\n    yield config\n"
        )
        shelf.put(name, source, module=f"plug_{name}")

    host = PluginHost.load(["c", "a", "b"])

    called = host.hook.spectranet_check_config(config="0", training=False)
    assert [next(answer) for answer in called] == ["a", "b", "c"]
    assert list(host.config_problems("7", training=False)) == [
        *(("a", "a"), ("a", "7"), ("b", "b")),
        *(("b", "7"), ("c", "c"), ("c", "7")),
    ]


def test_digest_tells_distributions_and_versions_apart(shelf: Shelf) -> None:
    shelf.modality("b")
    shelf.modality("a", version="0.2.0")

    parts = [
        ["a", "spectranet-a", "0.2.0"],
        ["b", "spectranet-b", "0.1.0"],
        ["core", "spectranet-core", spectranet.__version__],
    ]
    assert PluginHost.load(["b", "a"]).digest() == hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    assert PluginHost.load(["a", "b"]).digest() == PluginHost.load(["b", "a"]).digest()
    assert PluginHost.load(["a"]).digest() != PluginHost.load(["a", "b"]).digest()


def test_description_is_plain_and_says_what_each_plugin_brings(shelf: Shelf) -> None:
    shelf.modality("lidar", "points")

    core, lidar = json.loads(json.dumps(PluginHost.load(["lidar"]).describe()))

    assert core["name"] == "core" and set(core["readers"]) == {"manifest", "webdataset", "folder"}
    assert lidar == {
        "name": "lidar",
        "distribution": "spectranet-lidar",
        "version": "0.1.0",
        "api": 1,
        "modalities": ["points"],
        "objectives": [],
        "tasks": [],
        "readers": [],
        "presets": [],
        "trunks": [],
    }


@pytest.mark.parametrize("name", installed_first_party(discover()))
def test_what_the_core_says_of_an_installed_sibling_is_true(name: str) -> None:
    host = PluginHost.load([name])
    (record,) = [record for record in host.describe() if record["name"] == name]
    known = FIRST_PARTY[name]

    assert record["distribution"] == known.distribution
    for part in ("modalities", "trunks", "objectives", "tasks"):
        assert record[part] == sorted(getattr(known, part)), part
    assert sorted(str(command.name) for command in host.commands()) == sorted(known.commands)
