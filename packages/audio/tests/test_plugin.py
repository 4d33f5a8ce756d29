"""The declaration: what the host reads of it, and what it says of configurations."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
from omegaconf import OmegaConf
from transformers import Wav2Vec2Config

from spectranet_audio import plugin
from spectranet_audio.config import AudioConfig, problems
from spectranet_audio.plugin import AUDIO


def test_the_plugin_module_imports_no_torch() -> None:
    code = "import sys, spectranet_audio.plugin; print(sorted({'torch', 'av'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_brings_audio_which_pickles_and_whose_parts_all_resolve() -> None:
    assert [modality.name for modality in plugin.spectranet_modalities()] == ["audio"]
    again = pickle.loads(pickle.dumps(AUDIO))
    assert again == AUDIO and AUDIO.temporal
    for part in fields(AUDIO):
        value = getattr(AUDIO, part.name)
        if hasattr(value, "resolve"):
            assert callable(value.resolve()), part.name


def test_an_example_goes_through_the_whole_declaration(rng, tiny) -> None:
    transform = AUDIO.build_transform(tiny, True)
    values = [transform(AUDIO.decode(AUDIO.example(rng)), rng) for _ in range(3)]
    data = AUDIO.collate([one.data for one in values])
    assert len(data["waveform"]) == 3
    assert all(0 < AUDIO.sample_mask(one, AUDIO.mask_ratio, rng).sum() < len(one.segment_N) for one in values)
    again = AUDIO.example(np.random.default_rng(1))
    assert again == AUDIO.example(np.random.default_rng(1)) != AUDIO.example(np.random.default_rng(2))


def test_options_are_a_structured_config_with_help_everywhere() -> None:
    merged = OmegaConf.merge(OmegaConf.structured(AudioConfig), {"width": 96, "conv_dim": [32]})
    config = OmegaConf.to_object(merged)
    assert isinstance(config, AudioConfig) and config.width == 96 and config.conv_dim == [32]
    assert all(option.metadata["help"] for option in fields(AudioConfig))
    assert list(problems(merged)) == [] == list(problems(AudioConfig()))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heads": 5}, "heads (5) must divide width (32)"),
        ({"num_conv_pos_embedding_groups": 3}, "num_conv_pos_embedding_groups (3) must divide"),
        ({"conv_dim": [16, 16]}, "7 positive numbers"),
        ({"conv_dim": [16] * 6 + [0]}, "7 positive numbers"),
        ({"conv_dim": []}, "7 positive numbers"),
        ({"max_seconds": 0.0}, "a frame needs 0.025 s"),
        ({"layers": 0}, "layers is 0"),
        ({"heads": 0}, "heads is 0"),
        ({"mel_bins": 0}, "mel_bins is 0"),
        ({"mel_bins": 500}, "1 to 128"),
        ({"noise": -0.1}, "noise is -0.1"),
        ({"pretrained": "no/such/folder"}, "pretrained (no/such/folder) is not a folder with a config.json"),
    ],
)
def test_settings_that_cannot_work_are_named(tiny, changes: dict, words: str) -> None:
    found = list(problems(replace(tiny, **changes)))
    assert len(found) == 1 and words in found[0]


def test_all_problems_are_reported_at_once(tiny) -> None:
    config = SimpleNamespace(modalities={"audio": replace(tiny, heads=5, max_seconds=-1.0, gain_db=-3.0)})
    assert len(list(plugin.spectranet_check_config(config))) == 3
    assert list(plugin.spectranet_check_config(SimpleNamespace(modalities={}))) == []


def test_a_group_norm_folder_is_a_problem_of_the_config(tiny, tmp_path) -> None:
    Wav2Vec2Config().save_pretrained(tmp_path)
    (found,) = problems(replace(tiny, pretrained=str(tmp_path)))
    assert "feat_extract_norm 'group'" in found
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (found,) = problems(replace(tiny, pretrained=str(tmp_path)))
    assert "'bert', not 'wav2vec2'" in found
    (tmp_path / "config.json").write_text("{")
    (found,) = problems(replace(tiny, pretrained=str(tmp_path)))
    assert "no JSON" in found
