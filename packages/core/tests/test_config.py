"""Layers merge, plugins' options are typed, every value knows its origin, all problems come at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from throwaway import DECLARATIONS, Shelf, shelf_in

from spectranet.config import (
    Config,
    config_from_dict,
    config_to_dict,
    load_config,
    merge_config,
    source_options,
)
from spectranet.config.plain_yaml import read_yaml, write_value
from spectranet.config.show import annotated
from spectranet.errors import ConfigError, PluginError

PLUGIN = (
    DECLARATIONS
    + """
TRUNK = Trunk("shared", Options, nothing)

@dataclass
class Picky:
    weight: float = option(1.0, "weight")
    even: int = option(2, "an even number")

    def __post_init__(self):
        if self.even % 2:
            raise ValueError(f"{self.even} is odd")

@hookimpl
def spectranet_modalities():
    return [modality("points", TRUNK), modality("echo")]

@hookimpl
def spectranet_objectives():
    return [objective("match"), objective("picky", Picky)]

@hookimpl
def spectranet_tasks():
    return [task("measure")]

@hookimpl
def spectranet_presets():
    return [Preset("lidar-small", "a small one", "{train: {steps: 7}, model: {decoder: {width: 64}}}")]

@hookimpl
def spectranet_check_config(config):
    if config.modalities["points"].size > 100:
        yield "points.size is too large for any sensor."
"""
)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    folder = tmp_path / "installed"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    with shelf_in(folder, monkeypatch) as made:
        made.put("lidar", PLUGIN)
        yield made


def load(*overrides: str, configs: tuple[str, ...] = ()):
    return load_config(configs, overrides, ["lidar"])


def problems(*overrides: str, configs: tuple[str, ...] = (), training: bool = False) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(configs, overrides, ["lidar"], training=training)
    first, *rest = str(caught.value).splitlines()
    assert first.startswith("the configuration has ")
    return [line.strip() for line in rest]


def write(name: str, text: str) -> str:
    Path(name).write_text(text)
    return f"./{name}"


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
    with pytest.raises(ConfigError) as caught:
        load("train.steps", "+a=1", "a..b=1", "a=[1", configs=("./none.yaml", write("l.yaml", "- 1\n")))

    assert str(caught.value).splitlines() == [
        "config file none.yaml: No such file or directory.",
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


# ----------------------------------------------------------------------------------------- problems


def test_all_problems_are_told_at_once(shelf: Shelf) -> None:
    config = write("mine.yaml", "trian: {}\ntrain: {steps: many, sedd: 1}\nmodalities: {points: {siez: 1}}\n")

    assert problems("train.global_batch=100", "model.decoder.heads=3", configs=(config,)) == [
        "modalities.points.siez: unknown option. Did you mean 'size'?  (file mine.yaml)",
        "trian: unknown option. Did you mean 'train'?  (file mine.yaml)",
        "train.steps: 'many' is not a whole number  (file mine.yaml)",
        "train.sedd: unknown option. Did you mean 'seed'?  (file mine.yaml)",
        "train.global_batch: 100 is not a multiple of train.slots = 8  (command line)",
        "model.decoder.heads: 3 does not divide model.decoder.width = 512  (command line)",
    ]


def test_an_option_on_the_wrong_level_is_found_elsewhere(shelf: Shelf) -> None:
    assert problems("train.layers=4") == [
        "train.layers: unknown option. Did you mean 'model.decoder.layers'?  (command line)"
    ]
    (line,) = problems("data.zzz=4")
    assert line == "data.zzz: unknown option. known: sources, workers, threads, prefetch  (command line)"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train.steps=1.5", "1.5 is not a whole number"),
        ("train.steps=true", "true is not a whole number"),
        ("train.steps='12'", "'12' is not a whole number"),
        ("train.steps=null", "null is not a whole number"),
        ("train.micro_batch=x", "'x' is not a whole number or null"),
        ("train.compile=1", "1 is not true or false"),
        ("train.optimizer.lr_peak=nan", "'nan' is not a number"),
        ("run_dir=true", "true is not text"),
        ("train=5", "is a section with options of its own, not 5"),
        ("train.optimizer=null", "null is not OptimizerConfig"),
        ("modalities.points=null", "is a section with options of its own, not null"),
        ("modalities.points.sizes=3", "3 is not a list of whole numbers, such as [a, b]"),
        ("modalities.points.sizes=[a]", "[a] is not a list of whole numbers, such as [a, b]"),
        ("modalities.points.shares.a=b", "'b' is not a number"),
        ("modalities.points.inner={depth: {}}", "{} is not a whole number"),
    ],
)
def test_wrong_types(shelf: Shelf, override: str, sentence: str) -> None:
    (line,) = problems(override)
    assert line.endswith(f": {sentence}  (command line)")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train.slots=0", "train.slots: 0 is less than 1"),
        ("train.micro_batch=5", "train.micro_batch: 5 does not divide a slot: train.global_batch"),
        ("train.optimizer.lr_floor=1", "train.optimizer.lr_floor: 1.0 is above train.optimizer.lr_peak"),
        ("train.optimizer.beta2=1", "train.optimizer.beta2: 1.0 is not below 1"),
        ("train.optimizer.clip_norm=0", "train.optimizer.clip_norm: 0.0 is not above 0"),
        ("model.decoder.mlp=swigul", "model.decoder.mlp: unknown 'swigul'. Did you mean 'swiglu'? "),
        ("train.precision=fp16", "train.precision: unknown 'fp16'. Did you mean 'bf16'? choose: fp32, bf16"),
        ("objectives.mach={}", "objectives.mach: no loaded plugin brings objective 'mach'."),
        ("tasks.x={}", "tasks.x: no loaded plugin brings task 'x'. loaded: measure"),
        ("objectives.picky.even=3", "objectives.picky: ValueError: 3 is odd"),
        ("modalities.points.size=101", "plugin lidar: points.size is too large for any sensor."),
    ],
)  # fmt: skip
def test_values_that_make_no_sense(shelf: Shelf, override: str, sentence: str) -> None:
    (line,) = problems(override)
    assert line.startswith(sentence)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("modalities: []", ".modalities: is empty; it wants a list, such as [image, text]"),
        ("modalities: [echo, echo]", ".modalities: names 'echo' more than once"),
        ("modalities: [echoo]", ".modalities: no loaded plugin brings modality 'echoo'."),
        ("modalities: [echo], weight: -1", ".weight: -1.0 is less than 0"),
        ("modalities: [echo], format: webdatset", ".format: no loaded plugin reads 'webdatset'."),
        ("modalities: [echo], fields: {ecoh: x}", ".fields.ecoh: 'ecoh' is not a modality of this source."),
        ("modalities: [echo], overrides: {echo: {siez: 1}}", ".overrides.echo.siez: unknown option."),
        ("modalities: [echo], overrides: {points: {}}", ".overrides.points: 'points'"),
    ],
)  # fmt: skip
def test_sources_that_make_no_sense(shelf: Shelf, source: str, sentence: str) -> None:
    for section in ("data", "eval"):
        lines = problems(
            f"{section}.sources.a={{path: p, {source}}}", "data.sources.b={path: q, modalities: [echo]}"
        )
        assert lines[0].startswith(f"{section}.sources.a{sentence}"), lines


def test_a_source_needs_a_modality_whose_plugin_is_not_there(shelf: Shelf) -> None:
    shelf.modality("text")

    assert problems("data.sources.a={path: p, modalities: [image, text]}") == [
        "data.sources.a.modalities: plugin 'vision', which brings modality 'image', is not installed; "
        "install it:  python -m pip install spectranet-vision  (command line)",
        "data.sources.a.modalities: plugin 'text', which brings modality 'text', is not loaded; "
        "add it to --plugins  (command line)",
    ]


def test_a_run_needs_sources_with_paths_and_an_objective(shelf: Shelf) -> None:
    lines = problems(training=True)
    assert [line.partition(":")[0] for line in lines] == ["data.sources", "objectives"]
    lines = problems("data.sources.a.modalities=[echo]", "objectives.match={}", training=True)
    assert lines == [
        "data.sources.a.path: is not set; it wants a manifest, tar shards or a folder  (default)"
    ]


def test_a_configuration_with_problems_can_still_be_looked_at(shelf: Shelf) -> None:
    resolved, error = merge_config((), ["train.steps=x", "train.seed=4"], ["lidar"])

    assert error is not None and "'x' is not a whole number" in str(error)
    assert (resolved.config.train.steps, resolved.config.train.seed) == (1000, 4)


def test_options_of_modalities_left_out_are_ignored_in_files_but_not_on_the_command_line(
    shelf: Shelf,
) -> None:
    mine = write("mine.yaml", "modalities: {image: {size: 32}}\nobjectives: {mmm: null}\n")

    assert load(configs=(mine,)).unused == ("modalities.image", "objectives.mmm")
    (line,) = problems("modalities.image.size=32")
    assert line.startswith(
        "modalities.image: plugin 'vision', which brings modality 'image', is not installed"
    )
    (line,) = problems(configs=(write("typo.yaml", "modalities: {pionts: {size: 32}}\n"),))
    assert line.startswith(
        "modalities.pionts: no loaded plugin brings modality 'pionts'. Did you mean 'points'?"
    )


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


def test_objectives_that_are_wanted_but_not_installed(shelf: Shelf) -> None:
    assert problems("objectives.mmm={}") == [
        "objectives.mmm: plugin 'objectives', which brings objective 'mmm', is not installed; "
        "install it:  python -m pip install spectranet-objectives  (command line)"
    ]
    with pytest.raises(PluginError, match="plugin 'objectives' is not installed"):
        load("objective_plugins=[objectives]")
    assert load().config.objective_plugins == [], "nobody asked for them"


# ----------------------------------------------------------------------------------------- security


def test_references_are_refused_and_the_environment_stays_unread(shelf: Shelf, monkeypatch) -> None:
    monkeypatch.setenv("SECRET", "leaked")

    assert problems("run_dir=${oc.env:SECRET}", "modalities.points.shares={a: '${x}'}", "run_dir='???'") == [
        "run_dir: '${oc.env:SECRET}' is a reference; write the value itself  (command line)",
        "modalities.points.shares.a: '${x}' is a reference; write the value itself  (command line)",
        "run_dir: '???' is a reference; write the value itself  (command line)",
    ]
    with pytest.raises(PluginError, match=r"unknown plugin '\$\{oc.env:SECRET\}'"):
        load_config([], ["plugins=['${oc.env:SECRET}']"])


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
