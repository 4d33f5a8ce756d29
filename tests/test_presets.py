"""The published systems build, have the size and carry the hyper-parameters of their papers."""

from __future__ import annotations

import pytest

from spectranet.config import load_config
from spectranet.model.build import build_model, count_parameters, select_parts


def built(preset: str, *overrides: str):
    """The configuration, and parameters per part of the model on the meta device."""
    resolved = load_config([preset], list(overrides))
    parts = select_parts(resolved.config, resolved.host.modalities, resolved.host.objectives)
    model = build_model(resolved.config, parts)
    assert all(parameter.is_meta for parameter in model.parameters())
    counts = count_parameters(model)
    assert sum(counts.values()) == sum(parameter.numel() for parameter in model.parameters())
    print(f"\n{preset}: {sum(counts.values()) / 1e9:.3f} B parameters")
    for name, count in counts.items():
        print(f"  {name:<24} {count / 1e6:10.1f} M")
    return resolved.config, counts


def test_spectranet_l_has_13_7_billion_parameters_most_of_them_in_the_decoder():
    config, counts = built("spectranet-l")
    assert sum(counts.values()) == pytest.approx(13.7e9, rel=0.01)
    assert counts["decoder"] > 0.9 * sum(counts.values())
    assert config.train.global_batch == 2048 and config.train.slots == 32
    assert config.train.precision == "bf16"
    optimizer = config.train.optimizer
    assert optimizer.warmup_steps == 10_000 and optimizer.lr_floor == 1e-6
    assert config.modalities["text"].max_tokens == 1024
    assert {name: source.weight for name, source in config.data.sources.items()} == {
        "image-text": 65,
        "video-text": 20,
        "audio-text": 15,
    }
    assert set(config.objectives["mmm"].ratios.values()) == {0.15}
    assert set(config.objectives) == {"mmm", "contrastive", "temporal"}


def test_foundation_256_has_the_hyper_parameters_of_its_report():
    config, counts = built("foundation-256")
    assert set(counts) >= {"trunk vit", "encoder text", "decoder"}
    assert config.modalities["image"].size == 256
    assert config.modalities["text"].max_tokens == 1024 and config.modalities["text"].vocab_size == 32_000
    optimizer = config.train.optimizer
    assert (optimizer.lr_peak, optimizer.lr_floor, optimizer.warmup_steps) == (5e-4, 1e-5, 10_000)
    assert optimizer.clip_norm == 1.0
    assert config.train.global_batch == 2048 and config.train.precision == "bf16"
    assert config.objectives["mmm"].ratios["image"] == 0.75


def test_large_is_between_1_and_3_billion_most_of_it_in_the_decoder():
    config, counts = built("large")
    assert 1e9 < sum(counts.values()) < 3e9
    assert counts["decoder"] > 0.7 * sum(counts.values())
    assert config.train.precision == "bf16" and config.train.global_batch == 1024


@pytest.mark.parametrize("preset, least, most", [("tiny", 1e6, 3e6), ("base", 0.3e9, 0.6e9)])
def test_the_small_presets_build(preset, least, most):
    sources = []
    for names in (("image", "text"), ("video", "text"), ("audio", "text")):
        key = f"data.sources.{'-'.join(names)}"
        sources += [f"{key}.modalities=[{','.join(names)}]", f"{key}.path=unused.jsonl"]
    _, counts = built(preset, *sources)
    assert least < sum(counts.values()) < most
