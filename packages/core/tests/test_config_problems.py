"""All problems of a configuration are told at once, each with its option, its origin and a way out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from lidar import lidar_shelf, load, write
from throwaway import DECLARATIONS, Shelf

from spectranet.cli.root import root
from spectranet.config import load_config, merge_config
from spectranet.errors import ConfigError, PluginError


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    with lidar_shelf(tmp_path, monkeypatch) as made:
        yield made


def problems(*overrides: str, configs: tuple[str, ...] = (), training: bool = False) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(configs, overrides, ["lidar"], training=training)
    first, *rest = str(caught.value).splitlines()
    assert first.startswith("the configuration has ")
    return [line.strip() for line in rest]


def test_all_problems_are_told_at_once(shelf: Shelf) -> None:
    config = write("mine.yaml", "trian: {}\ntrain: {steps: many, sedd: 1}\nmodalities: {points: {siez: 1}}\n")

    assert problems("train.global_batch=100", "model.decoder.heads=3", configs=(config,)) == [
        "modalities.points.siez: unknown option. Did you mean 'size'?  (file mine.yaml)",
        "trian: unknown option. Did you mean 'train'?  (file mine.yaml)",
        "train.steps: 'many' is not a whole number  (file mine.yaml)",
        "train.sedd: unknown option. Did you mean 'seed'?  (file mine.yaml)",
        "train.global_batch: 100 is not a multiple of train.slots = 8; 96 would be  (command line)",
        "model.decoder.heads: 3 does not divide model.decoder.width = 512  (command line)",
    ]


def test_limits_of_the_data_are_told_with_the_rest(shelf: Shelf) -> None:
    data = ("window_shards=0", "cache_gib=-1", "stall_s=0", "failure_limit=2", "cache_dir=")
    overrides = [f"data.{each}" for each in data] + ["data.sources.a={modalities: [echo], weight: 0}"]
    found = problems(*overrides, "train.slots=0", "objectives.match={}", training=True)
    names = {line.partition(":")[0] for line in found}
    assert names == {
        *(f"data.{each.partition('=')[0]}" for each in data),
        *("data.sources.a.weight", "data.sources.a.path", "train.slots"),
    }


def test_a_task_whose_objective_no_plugin_brings_is_refused(shelf: Shelf) -> None:
    task = "Task('tidy', Options, (), nothing, finetune_objective='tidyng')"
    shelf.put("tidy", DECLARATIONS + f"@hookimpl\ndef spectranet_tasks():\n    return [{task}]\n")

    with pytest.raises(ConfigError, match=r"tasks\.tidy: objective 'tidyng' trains for it; no loaded plugin"):
        load_config((), ("tasks.tidy={}",), ["tidy"])
    assert load_config((), (), ["tidy"]).config.tasks == {}


def test_an_option_on_the_wrong_level_is_found_elsewhere(shelf: Shelf) -> None:
    assert problems("train.layers=4") == [
        "train.layers: unknown option. Did you mean 'model.decoder.layers'?  (command line)"
    ]
    (line,) = problems("data.zzz=4")
    assert line.startswith("data.zzz: unknown option. known: sources, workers, threads, prefetch")


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
        ("train.micro_batch=5", "train.micro_batch: 5 neither divides nor is a multiple of a slot"),
        ("train.optimizer.lr_floor=1", "train.optimizer.lr_floor: 1.0 is above train.optimizer.lr_peak"),
        ("train.optimizer.beta2=1", "train.optimizer.beta2: 1.0 is not below 1"),
        ("train.optimizer.clip_norm=0", "train.optimizer.clip_norm: 0.0 is not above 0"),
        ("data.window_shards=0", "data.window_shards: 0 is less than 1"),
        ("data.cache_gib=-1", "data.cache_gib: -1.0 is less than 0"),
        ("data.stall_s=0", "data.stall_s: 0.0 is not above 0"),
        ("data.failure_limit=2", "data.failure_limit: 2.0 is not a share from 0 to 1"),
        ("data.cache_dir=", "data.cache_dir: is empty; it wants a folder, such as ~/.cache/spectranet"),
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
        ("modalities: [echo], weight: 0", ".weight: is 0, so nothing would be drawn from it; "),
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


def test_a_source_of_weight_0_is_dropped_as_its_problem_says(shelf: Shelf) -> None:
    overrides = ["data.sources.a={path: p, modalities: [echo], weight: 0}"]
    (line,) = problems(*overrides)
    command = line.partition("to drop the source:  ")[2].split()[0]
    assert load_config((), [*overrides, command], ["lidar"]).config.data.sources == {}


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
    assert [line.partition(":")[0] for line in lines] == ["objectives", "data.sources"]
    assert "start from a preset, --config tiny" in lines[0], "the first thing to do comes first"
    lines = problems("data.sources.a.modalities=[echo]", "objectives.match={}", training=True)
    assert lines == [
        "data.sources.a.path: is not set; it wants a manifest, tar shards or a folder  (default)"
    ]


def test_a_source_without_a_path_is_shown_as_enough_to_plan_with_but_not_to_train(shelf: Shelf) -> None:
    shown = CliRunner().invoke(
        root, ["config", "show", "--plugins", "lidar", "data.sources.a.modalities=[echo]"]
    )

    assert shown.exit_code == 0
    assert shown.stderr == (
        "enough to plan with, not to train: data.sources.a.path is not set; "
        "it wants a manifest, tar shards or a folder\n"
    )


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


def test_references_are_refused_and_the_environment_stays_unread(shelf: Shelf, monkeypatch) -> None:
    monkeypatch.setenv("SECRET", "leaked")

    assert problems("run_dir=${oc.env:SECRET}", "modalities.points.shares={a: '${x}'}", "run_dir='???'") == [
        "run_dir: '${oc.env:SECRET}' is a reference; write the value itself  (command line)",
        "modalities.points.shares.a: '${x}' is a reference; write the value itself  (command line)",
        "run_dir: '???' is a reference; write the value itself  (command line)",
    ]
    with pytest.raises(PluginError, match=r"unknown plugin '\$\{oc.env:SECRET\}'"):
        load_config([], ["plugins=['${oc.env:SECRET}']"])


def test_objectives_that_are_wanted_but_not_installed(shelf: Shelf) -> None:
    assert problems("objectives.mmm={}") == [
        "objectives.mmm: plugin 'objectives', which brings objective 'mmm', is not installed; "
        "install it:  python -m pip install spectranet-objectives  (command line)"
    ]
    with pytest.raises(PluginError, match="plugin 'objectives' is not installed"):
        load("objective_plugins=[objectives]")
    assert load().config.objective_plugins == [], "nobody asked for them"


def test_an_objective_whose_plugin_a_setting_leaves_out_names_the_setting(shelf: Shelf) -> None:
    shelf.put(
        "objectives",
        DECLARATIONS + "@hookimpl\ndef spectranet_objectives():\n    return [objective('mmm')]\n",
    )

    (line,) = problems("objectives.mmm={}", "objective_plugins=[]")

    assert line == (
        "objectives.mmm: plugin 'objectives', which brings objective 'mmm', is switched off by "
        "objective_plugins, which does not name it; drop that setting, or write "
        "objective_plugins=[objectives]  (command line)"
    )


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("1.5", "1.5 is not text or a list of names, such as [a, b]"),
        ("[train, {x: 1}]", "[train, {x: 1}] is not text or a list of names, such as [a, b]"),
        ("[]", "is an empty list: no row would be left; name a value"),
    ],
)
def test_where_takes_text_or_a_list_of_texts(shelf: Shelf, value: str, sentence: str) -> None:
    path = "data.sources.a.where.split"

    (line,) = problems(f"{path}={value}", configs=(write("base.yaml", BASE),))

    assert line.strip() == f"{path}: {sentence}  (command line)"


BASE = """
objectives: {match: {}}
tasks: {}
data: {sources: {a: {path: p, modalities: [echo], where: {split: train}}}}
"""


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("objectives={}", "objectives: {} changes nothing; to drop one: objectives.match=null"),
        ("data.sources={}", "data.sources: {} changes nothing; to drop one: data.sources.a=null"),
        (
            "data.sources.a.where={}",
            "data.sources.a.where: {} changes nothing; to drop one: data.sources.a.where.split=null",
        ),
        ("train={}", "train: {} changes nothing; name an option: train.steps=…"),
        (
            "train.checkpoint={}",
            "train.checkpoint: {} changes nothing; name an option: train.checkpoint.every=…",
        ),
        ("modalities={}", "modalities: {} changes nothing; name an option: modalities.echo=…"),
    ],
)
def test_an_override_that_empties_nothing_is_refused(shelf: Shelf, override: str, sentence: str) -> None:
    (line,) = problems(override, configs=(write("base.yaml", BASE),))

    assert line == f"{sentence}  (command line)"


def test_empty_sections_that_mean_something_or_nothing_is_lost_by_are_taken(shelf: Shelf) -> None:
    base, empty = write("base.yaml", BASE), write("empty.yaml", "{objectives: {}, train: {}}")

    resolved = load("tasks={}", "objectives.match={}", "objectives.picky={}", configs=(base, empty))

    assert list(resolved.config.objectives) == ["match", "picky"]


@pytest.mark.parametrize(
    ("overrides", "offer"),
    [
        (("train.global_batch=100",), "train.global_batch=96"),
        (("train.global_batch=3",), "train.global_batch=8"),
        (("train.micro_batch=5",), "train.micro_batch=4"),
        (("train.micro_batch=60",), "train.micro_batch=64"),
    ],
)
def test_sizes_that_are_offered_work(shelf: Shelf, overrides: tuple[str, ...], offer: str) -> None:
    (line,) = problems(*overrides)

    assert re.search(rf"; {offer.partition('=')[2]} (would be|does)  ", line)
    load(*overrides, offer)
