"""Layers merge, plugins' options are typed, every value knows its origin and can be stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from lidar import lidar_shelf, load, write
from throwaway import DECLARATIONS, Shelf

from spectranet.config import Config, config_from_dict, config_to_dict, load_config, source_options
from spectranet.config.show import annotated
from spectranet.errors import ConfigError, PluginError


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    with lidar_shelf(tmp_path, monkeypatch) as made:
        yield made


# ------------------------------------------------------------------------------------------- layers


def test_without_anything_the_schema_speaks(shelf: Shelf) -> None:
    resolved = load()
    expected = Config()
    assert resolved.config.train == expected.train
    assert resolved.config.plugins == ["lidar"]
    assert sorted(resolved.config.modalities) == ["echo", "points"]
    assert resolved.config.trunks["shared"].size == 8
    assert resolved.config.objectives == {} and resolved.config.tasks == {}


def test_plugin_sections_hold_the_plugins_own_dataclasses(shelf: Shelf) -> None:
    resolved = load("modalities.points.inner.depth=3", "modalities.points.sizes=[4]", "objectives.match={}")

    points = resolved.config.modalities["points"]
    assert type(points) is resolved.host.modalities["points"].config
    assert (points.inner.depth, points.sizes, points.label) == (3, [4], "x")
    assert type(resolved.config.objectives["match"]) is resolved.host.objectives["match"].config


def test_later_layers_win_and_every_leaf_knows_its_origin(shelf: Shelf) -> None:
    base = write("base.yaml", "train: {steps: 1, seed: 1, log_every: 1}\nmodalities: {points: {size: 1}}\n")
    top = write("top.yaml", "train: {seed: 2, log_every: 2}\n")

    resolved = load("train.log_every=3", configs=("lidar-small", base, top))

    train, origin = resolved.config.train, resolved.provenance
    assert (train.steps, train.seed, train.log_every) == (1, 2, 3)
    assert origin["train.steps"] == "file base.yaml"
    assert origin["train.seed"] == "file top.yaml"
    assert origin["train.log_every"] == "command line"
    assert origin["modalities.points.size"] == "file base.yaml"
    assert origin["modalities.points.rate"] == "plugin lidar"
    assert origin["plugins"] == "command line"
    assert origin["model.decoder.width"] == "preset lidar-small"
    assert origin["eval.limit"] == "default"


def test_a_file_extends_presets_and_files_relative_to_itself(shelf: Shelf) -> None:
    Path("sub").mkdir()
    write("sub/base.yaml", "extends: lidar-small\ntrain: {seed: 1}\n")
    write("sub/top.yaml", "extends: ./base.yaml\ntrain: {steps: 5}\n")

    origin = load(configs=("sub/top.yaml",)).provenance

    assert origin["train.steps"] == "file sub/top.yaml"
    assert origin["train.seed"] == "file sub/base.yaml"
    assert origin["model.decoder.width"] == "preset lidar-small"


def test_a_file_that_extends_itself_is_refused(shelf: Shelf) -> None:
    write("a.yaml", "extends: ./b.yaml\n")
    write("b.yaml", "extends: ./a.yaml\n")

    with pytest.raises(ConfigError, match=r"file a\.yaml extends itself"):
        load(configs=("./a.yaml",))


def test_presets_come_from_plugins_too_and_a_typo_has_a_hint(shelf: Shelf) -> None:
    resolved = load(configs=("lidar-small",))
    assert resolved.config.train.steps == 7
    assert resolved.provenance["train.steps"] == "preset lidar-small"

    with pytest.raises(
        ConfigError, match=r"unknown preset 'lidar-smal'\. Did you mean 'lidar-small'\?\n  pres"
    ):
        load(configs=("lidar-smal",))


def test_files_and_overrides_that_cannot_be_read_are_told_together(shelf: Shelf) -> None:
    write("nine.yaml", "")
    with pytest.raises(ConfigError) as caught:
        load("train.steps", "+a=1", "a..b=1", "a=[1", configs=("./none.yaml", write("l.yaml", "- 1\n")))

    assert str(caught.value).splitlines() == [
        "config file 'none.yaml' does not exist. Did you mean 'nine.yaml'?",
        f"  looked at: {Path.cwd() / 'none.yaml'}",
        "  presets: base, foundation-256, large, spectranet-l, tiny",
        "file l.yaml: wants options such as 'train:', not a list.",
        "override 'train.steps' is not of the form key=value.",
        "override '+a=1': write key=value, without '+'; key=null switches off.",
        "override 'a..b=1': 'a..b' is not a dotted name.",
        "override 'a=[1', line 1: expected ',' or ']', but got '<stream end>'.",
    ]


def test_objectives_and_tasks_are_on_where_they_are_named_and_off_with_null(shelf: Shelf) -> None:
    base = write("base.yaml", "objectives: {match: {size: 3}, picky: {}}\ntasks: {measure: {}}\n")

    off = load("objectives.match=null", "tasks.measure=null", configs=(base,))
    assert list(off.config.objectives) == ["picky"] and off.config.tasks == {}
    assert not [path for path in off.provenance if path.startswith("objectives.match")]

    again = load("objectives.match=null", "objectives.match={}", configs=(base,))
    assert again.config.objectives["match"].size == 8, "switched on again, it starts from its defaults"


def test_sources_are_made_where_they_are_named_and_gone_with_null(shelf: Shelf) -> None:
    base = write("base.yaml", "data: {sources: {a: {path: p, modalities: [points]}}}\n")

    both = load("data.sources.b={path: q, modalities: [echo], where: {split: 1}}", configs=(base,))
    assert both.config.data.sources["b"].where == {"split": "1"}
    several = load("data.sources.b={path: q, modalities: [echo], where: {split: [1, val]}}", configs=(base,))
    assert several.config.data.sources["b"].where == {"split": ["1", "val"]}
    assert both.provenance["data.sources.a.path"] == "file base.yaml"
    assert load("data.sources.a=null", configs=(base,)).config.data.sources == {}


def test_a_key_of_a_free_dictionary_goes_with_null(shelf: Shelf) -> None:
    options = ("modalities.points.shares={a: 0.5, b: 1}", "modalities.points.shares.a=null")
    assert load(*options).config.modalities["points"].shares == {"b": 1.0}


def test_overrides_of_a_source_hold_only_what_it_sets(shelf: Shelf) -> None:
    source = "data.sources.a={path: p, modalities: [points], overrides: {points: {inner: {depth: 9}}}}"
    resolved = load(source, "modalities.points.size=5")

    a = resolved.config.data.sources["a"]
    assert a.overrides == {"points": {"inner": {"depth": 9}}}
    merged = source_options(resolved.config, a, "points")
    assert (merged.inner.depth, merged.size) == (9, 5)
    assert resolved.config.modalities["points"].inner.depth == 2
    assert resolved.provenance["data.sources.a.overrides.points.inner.depth"] == "command line"


# ------------------------------------------------------------------------------------------ plugins


def test_the_configuration_names_plugins_unless_the_option_does(shelf: Shelf) -> None:
    shelf.modality("sonar")
    mine = write("mine.yaml", "plugins: [sonar]\n")

    named = load_config([mine])
    assert named.host.names == ["sonar"] and named.provenance["plugins"] == "file mine.yaml"
    assert load_config([mine], [], ["lidar"]).config.plugins == ["lidar"]
    assert load_config([mine], ["plugins=[lidar, sonar]"]).host.names == ["lidar", "sonar"]
    with pytest.raises(PluginError, match=r"unknown plugin 'sonr' \(from plugins= on the command line\)"):
        load_config([mine], ["plugins=[sonr]"])
    with pytest.raises(ConfigError, match=r"plugins: wants a list of names"):
        load_config([mine], ["plugins=sonar"])


def test_by_default_the_first_party_that_is_installed_and_written_down(shelf: Shelf) -> None:
    shelf.modality("text")
    shelf.modality("sonar")

    resolved = load_config()
    assert resolved.config.plugins == ["text"]
    assert resolved.provenance["plugins"] == "default"


def test_the_plugin_of_the_objectives_is_loaded_besides_those_named(shelf: Shelf) -> None:
    shelf.put(
        "objectives",
        DECLARATIONS + "@hookimpl\ndef spectranet_objectives():\n    return [objective('mmm')]\n",
    )

    resolved = load("objectives.mmm={}")
    assert resolved.host.names == ["lidar", "objectives"]
    assert resolved.config.plugins == ["lidar"]
    assert load("objective_plugins=[]").host.names == ["lidar"]


# -------------------------------------------------------------------------------- writing, storing


FULL = (
    "objectives.match.rate=0.25",
    "data.sources.a={path: 'p q', modalities: [points, echo], overrides: {points: {sizes: [9], limit: 3}}}",
    "eval.sources.b={path: q, modalities: [echo], fields: {echo: 'no'}}",
    "modalities.echo.shares={x: 1e-6}",
    "train.micro_batch=4",
)


def test_printed_yaml_loads_to_the_same_configuration(shelf: Shelf) -> None:
    first = load(*FULL)

    for text in (first.to_yaml(), annotated(first)):
        assert load_config([write("out.yaml", text)]).config == first.config


def test_printed_origins_fit_a_terminal_and_stand_beside_their_values(shelf: Shelf) -> None:
    lines = annotated(
        load(*FULL, "run_dir=runs/a-rather-long-name-that-leaves-no-room-for-a-comment")
    ).splitlines()

    assert max(map(len, lines)) <= 80
    assert any(line.split() == ["micro_batch:", "4", "#", "command", "line"] for line in lines)
    assert lines[:2] == [
        "# command line",
        "run_dir: runs/a-rather-long-name-that-leaves-no-room-for-a-comment",
    ]


def test_a_stored_configuration_comes_back(shelf: Shelf) -> None:
    first = load(*FULL)
    stored = json.loads(json.dumps(config_to_dict(first.config)))

    assert config_from_dict(stored).config == first.config
    stored["train"]["steps"] = -1
    with pytest.raises(ConfigError, match=r"train\.steps: -1 is less than 1  \(stored configuration\)"):
        config_from_dict(stored, first.host)
