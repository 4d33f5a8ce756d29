"""What the plugin declares, what it refuses, and that saying so imports no torch."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from spectranet_objectives import plugin

OBJECTIVES = {objective.name: objective for objective in plugin.spectranet_objectives()}
TASKS = {task.name: task for task in plugin.spectranet_tasks()}


def config_with(**changes: dict[str, object]) -> SimpleNamespace:
    """A sound configuration of every objective and task, with ``name={option: value}`` changed."""
    clips = SimpleNamespace(modalities=["audio", "text", "video"])
    config = SimpleNamespace(
        modalities={},
        data=SimpleNamespace(sources={"clips": clips}),
        eval=SimpleNamespace(sources={}),
        objectives={name: objective.config() for name, objective in OBJECTIVES.items()},
        tasks={name: task.config() for name, task in TASKS.items()},
    )
    for name, options in changes.items():
        section = config.objectives if name in OBJECTIVES else config.tasks
        section[name] = dataclasses.replace(section[name], **options)
    return config


@pytest.mark.parametrize("part", [*OBJECTIVES.values(), *TASKS.values()], ids=lambda part: part.name)
def test_every_option_has_help_and_fits_omegaconf(part: object) -> None:
    OmegaConf.structured(part.config)
    for field in dataclasses.fields(part.config):
        assert field.metadata["help"], field.name


def test_the_defaults_have_no_problems() -> None:
    assert list(plugin.spectranet_check_config(config_with())) == []


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("mmm", {"weight": -1.0}, "objectives.mmm.weight is -1.0"),
        ("mmm", {"ratios": {"vidoe": 0.5}}, "Did you mean 'video'?"),
        ("mmm", {"scales": {"txt": 0.5}}, "Did you mean 'text'?"),
        ("mmm", {"ratios": {"video": 1.5}}, "between 0 and 1"),
        ("mmm", {"scales": {"video": -1.0}}, "0 or more"),
        ("contrastive", {"loss": "triplet"}, "it must be infonce or sigmoid"),
        ("contrastive", {"same_content": "drop"}, "it must be negative or ignore"),
        ("contrastive", {"width": 0}, "at least 1"),
        ("contrastive", {"scale_max": 0.0}, "above 0"),
        ("contrastive", {"scale_init": 200.0}, "at most scale_max"),
        ("temporal", {"margin": 1}, "at least 2"),
        ("temporal", {"width": 0}, "at least 1"),
        ("temporal", {"temperature": 0.0}, "above 0"),
        ("temporal", {"variance_weight": -0.1}, "0 or more"),
        ("temporal", {"variance_floor": 2.0}, "between 0 and 1"),
        ("captioning", {"modality": "texts"}, "Did you mean 'text'?"),
        ("captioning", {"max_tokens": 0}, "at least 1"),
        ("retrieval", {"ks": [0, 5]}, "cut-offs"),
        ("retrieval", {"ks": []}, "cut-offs"),
        ("retrieval", {"max_candidates": 0}, "at least 1"),
        ("retrieval", {"save_examples": -1}, "0 or more"),
        ("retrieval", {"save_examples": 3}, "examples_path"),
    ],
)
def test_each_mistake_is_one_problem_that_names_it(name: str, options: dict[str, object], words: str) -> None:
    problems = list(plugin.spectranet_check_config(config_with(**{name: options})))
    assert len(problems) == 1 and words in problems[0]


def test_captions_of_what_no_source_has_are_a_problem() -> None:
    (problem,) = plugin.spectranet_check_config(config_with(captioning={"modality": "music"}))
    assert "'music', which no training source has; they have audio, text, video" in problem


def test_all_problems_are_told_at_once() -> None:
    config = config_with(temporal={"margin": 0}, contrastive={"loss": "x", "width": 0})
    assert len(list(plugin.spectranet_check_config(config))) == 3


def test_retrieval_without_contrast_is_a_problem() -> None:
    config = config_with()
    del config.objectives["contrastive"]
    assert ["contrastive" in p for p in plugin.spectranet_check_config(config)] == [True]


def test_a_preset_may_speak_of_modalities_that_are_not_loaded() -> None:
    assert list(plugin.spectranet_check_config(config_with(mmm={"ratios": {"image": 0.75}}))) == []
