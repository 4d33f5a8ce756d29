"""The declaration is complete and light, and its configuration check finds every problem."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from spectranet import Config, Modality, SourceConfig
from spectranet_text import plugin
from spectranet_text.options import TextConfig


def check(text: TextConfig, training: bool = True, **overrides: object) -> list[str]:
    source = SourceConfig(path="x", modalities=["text"], overrides={"text": overrides})
    config = Config(modalities={"text": text})
    config.data.sources = {"captions": source}
    return list(plugin.spectranet_check_config(config=config, training=training))


def test_the_modality_is_complete():
    (text,) = plugin.spectranet_modalities()
    assert isinstance(text, Modality) and text.name == "text" and not text.temporal
    assert text.fields == ("txt", "text", "caption")
    assert text.vocab_size(TextConfig()) == 261
    for part in ("collate", "build_encoder", "build_target_head", "shard_units", "flops", "fingerprint"):
        assert callable(getattr(text, part).resolve()), part
    pickle.loads(pickle.dumps(text))


def test_importing_the_plugin_and_its_commands_imports_nothing_heavy():
    code = (
        "import sys, spectranet_text.plugin as p; list(p.spectranet_commands()); p.spectranet_modalities();"
        "print([m for m in ('torch', 'transformers', 'sentencepiece') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_option_has_help_and_fits_omegaconf():
    assert all(field.metadata["help"] for field in dataclasses.fields(TextConfig))
    merged = OmegaConf.merge(OmegaConf.structured(TextConfig), {"max_tokens": 99, "vocab_size": None})
    assert OmegaConf.to_object(merged) == TextConfig(max_tokens=99)


def test_the_default_and_a_trained_tokenizer_are_fine(model_path):
    assert check(TextConfig()) == []
    assert check(TextConfig(tokenizer=str(model_path), vocab_size=350), max_tokens=64) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_tokens": 2}, "max_tokens is 2; the least is 3"),
        ({"width": 30}, "width 30 is not a multiple of heads 4"),
        ({"heads": 0}, "heads is 0; the least is 1"),
        ({"layers": 0}, "layers is 0; the least is 1"),
        ({"pool": "max"}, "pool is 'max'; it is one of mean, first"),
        ({"mask_id": 261}, "mask_id is 261, outside the vocabulary of 261"),
        ({"tokenizer": "absent.model"}, "there is no file 'absent.model'"),
        ({"vocab_size": 32000}, "is 32000, but tokenizer 'bytes' has 261"),
        ({"vocab_size": 8000}, "spectranet tokenizer train --vocab-size 8000 --output tokenizer.model"),
        ({"pretrained": "absent"}, "no BERT in 'absent'"),
    ],
)
def test_a_problem_is_named(options, words):
    problems = check(TextConfig(**options))
    assert len(problems) == 1 and words in problems[0]


def test_all_problems_are_reported_at_once():
    assert len(check(TextConfig(max_tokens=1, width=30, pool="x", vocab_size=5))) == 4


def test_a_source_may_only_shorten_texts():
    assert "can only lower text.max_tokens" in check(TextConfig(), width=3)[0]
    assert "between 3 and modalities.text.max_tokens, 1024" in check(TextConfig(), max_tokens=2000)[0]


def test_a_run_without_text_is_not_checked():
    config = Config(modalities={"text": TextConfig(tokenizer="absent.model")})
    config.data.sources = {"clips": SourceConfig(modalities=["video"])}
    assert plugin.spectranet_check_config(config=config, training=True) == []


def test_weights_of_another_kind_or_length_are_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    assert "holds 'roberta', not 'bert'" in check(TextConfig(pretrained=str(tmp_path)))[0]
    (tmp_path / "config.json").write_text(
        '{"model_type": "bert", "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,'
        '"intermediate_size": 1024, "vocab_size": 261, "max_position_embeddings": 512}'
    )
    assert (
        "reach 512.\n  set:  modalities.text.max_tokens=512" in check(TextConfig(pretrained=str(tmp_path)))[0]
    )


def test_without_a_run_a_given_vocabulary_size_needs_no_tokenizer_file():
    absent = TextConfig(tokenizer="absent.model", vocab_size=32000)
    assert check(absent, training=False) == []
    assert "absent.model" in check(absent)[0]
