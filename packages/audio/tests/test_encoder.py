"""The encoder's tokens: equal to transformers' own, inert to padding, blind to what is hidden."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Wav2Vec2Config, Wav2Vec2Model

from spectranet import ConfigError, Values
from spectranet_audio.config import AudioConfig
from spectranet_audio.cost import flops
from spectranet_audio.encoder import build_encoder, shard_units
from spectranet_audio.masking import sample_mask
from spectranet_audio.pretrained import resolve
from spectranet_audio.transform import build_transform


@pytest.fixture
def clips(rng, tiny) -> list[Values]:
    transform = build_transform(tiny, train=False)
    return [
        transform(rng.standard_normal(samples).astype(np.float32), rng) for samples in (7_000, 16_000, 400)
    ]


@pytest.fixture(params=[False, True], ids=["post-norm", "stable"])
def config(request, tiny) -> AudioConfig:
    return replace(tiny, stable_layer_norm=request.param)


def library_tokens(model: Wav2Vec2Model, values: Values) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.from_numpy(values.data["waveform"])[None]).last_hidden_state


def test_unmasked_tokens_equal_transformers(config, clips, batch_of, materialised) -> None:
    encoder = materialised(config)
    for values in clips:
        encoded = encoder(batch_of([values]))
        assert (encoded.tokens_BND - library_tokens(encoder.model, values)).abs().max() <= 1e-5
        torch.testing.assert_close(encoded.pooled_BD, encoded.tokens_BND.mean(1))


def test_a_padded_batch_equals_batches_of_one_and_transformers_with_its_mask(
    config, clips, batch_of, materialised
) -> None:
    encoder = materialised(config)
    batch = batch_of(clips)
    together = encoder(batch)
    for row, values in enumerate(clips):
        alone = encoder(batch_of([values]))
        frames = alone.tokens_BND.shape[1]
        assert (together.tokens_BND[row, :frames] - alone.tokens_BND[0]).abs().max() <= 1e-5
        assert (together.pooled_BD[row] - alone.pooled_BD[0]).abs().max() <= 1e-5
        assert together.valid_BN[row].sum() == frames
    samples = torch.arange(batch.data["waveform"].shape[1]) < batch.data["samples"][:, None]
    oracle = encoder.model.eval()(batch.data["waveform"], attention_mask=samples.long()).last_hidden_state
    assert (together.tokens_BND - oracle)[together.valid_BN].abs().max() <= 1e-5


def test_saved_weights_load_and_give_transformers_tokens(
    config, clips, batch_of, materialised, tmp_path
) -> None:
    torch.manual_seed(1)
    saved = Wav2Vec2Model(
        Wav2Vec2Config(
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=3,
            intermediate_size=40,
            conv_dim=(8,) * 7,
            conv_bias=True,
            feat_extract_norm="layer",
            num_conv_pos_embeddings=6,
            num_conv_pos_embedding_groups=2,
            do_stable_layer_norm=config.stable_layer_norm,
        )
    )
    with torch.no_grad():  # not what any initialisation would give
        for parameter in saved.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    saved.save_pretrained(tmp_path)
    pretrained = replace(config, pretrained=str(tmp_path))
    encoder = materialised(pretrained)
    assert encoder.width == 24 == resolve(pretrained).width and resolve(pretrained).layers == 2
    torch.testing.assert_close(encoder.mask_embedding, saved.masked_spec_embed)
    for values in clips:
        tokens = encoder(batch_of([values])).tokens_BND
        assert (tokens - library_tokens(saved, values)).abs().max() <= 1e-5


def test_a_folder_without_a_usable_model_is_refused(tiny, materialised, tmp_path) -> None:
    with pytest.raises(ConfigError, match="nothing is downloaded"):
        build_encoder(replace(tiny, pretrained=str(tmp_path / "nowhere")))
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    Wav2Vec2Config(**small).save_pretrained(tmp_path / "group")
    with pytest.raises(ConfigError, match=r"feat_extract_norm 'group'.*Take a model"):
        build_encoder(replace(tiny, pretrained=str(tmp_path / "group")))
    Wav2Vec2Config(**small, feat_extract_norm="layer").save_pretrained(tmp_path / "bare")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        materialised(replace(tiny, pretrained=str(tmp_path / "bare")))
    odd = Wav2Vec2Config(**small, feat_extract_norm="layer", conv_kernel=(10, 3, 3, 3, 3, 3, 2))
    odd.save_pretrained(tmp_path / "odd")
    with pytest.raises(ConfigError, match="kernels"):
        build_encoder(replace(tiny, pretrained=str(tmp_path / "odd")))


def test_hidden_frames_are_invisible(config, clips, batch_of, materialised) -> None:
    """Any sample that a hidden frame covers may change without any effect on what is visible."""
    encoder = materialised(config)
    values = clips[1]
    for hidden in ([3], [10, 11, 12, 13], [0, 1, 30, 47, 48]):
        mask_N = np.zeros(49, dtype=bool)
        mask_N[hidden] = True
        covered_T = np.zeros(16_000, dtype=bool)
        for frame in hidden:
            covered_T[frame * 320 : frame * 320 + 400] = True
        changed = values.data["waveform"].copy()
        changed[covered_T] = 3 * np.random.default_rng(0).standard_normal(covered_T.sum())
        other = Values(values.data | {"waveform": changed}, values.position_NP, values.segment_N)
        tokens, tokens_other = (encoder(batch_of([one], [mask_N])).tokens_BND for one in (values, other))
        assert tokens.shape[1] == 49 - len(hidden)
        torch.testing.assert_close(tokens, tokens_other, rtol=0, atol=0)
        outside = values.data["waveform"] + 0.1 * ~covered_T
        outside = Values(values.data | {"waveform": outside}, values.position_NP, values.segment_N)
        assert (encoder(batch_of([outside], [mask_N])).tokens_BND - tokens).abs().max() > 1e-4


def test_hiding_marks_the_place_and_leaves_the_other_coordinates(clips, batch_of, materialised, tiny) -> None:
    encoder = materialised(tiny)
    mask_N = np.zeros(49, dtype=bool)
    mask_N[5:12] = True
    plain, masked = (encoder(batch_of([clips[1]], mask)) for mask in (None, [mask_N]))
    kept = np.flatnonzero(~mask_N)
    assert masked.position_BNP[0, :, 0].tolist() == kept.tolist()
    assert masked.segment_BN[0].tolist() == (kept // 10).tolist()
    assert (masked.tokens_BND[0] - plain.tokens_BND[0, kept]).abs().max() > 1e-3
    with torch.no_grad():
        encoder.mask_embedding.add_(torch.linspace(-1, 1, tiny.width))
    moved = encoder(batch_of([clips[1]], [mask_N]))
    assert (masked.tokens_BND - moved.tokens_BND).abs().max() > 1e-3


@pytest.mark.parametrize("train", [True, False])
def test_every_parameter_gets_a_gradient(config, clips, batch_of, materialised, rng, train: bool) -> None:
    encoder = materialised(config).train(train)
    masks = [sample_mask(values, 0.3, rng) for values in clips]
    encoded = encoder(batch_of(clips, masks), None)
    (encoded.tokens_BND * torch.randn_like(encoded.tokens_BND))[encoded.valid_BN].sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        # A softmax over keys does not feel what all keys share.
        assert "k_proj.bias" in name or parameter.grad.abs().sum() > 0, name


def test_digital_silence_does_not_blow_up_the_gradient(tiny, rng, batch_of, materialised) -> None:
    """LayerNorm of a constant multiplies gradients by 316 in each of seven layers: biases prevent it."""
    transform = build_transform(replace(tiny, normalise=False), train=False)
    sound = rng.standard_normal(8_000).astype(np.float32)
    silent = sound.copy()
    silent[2_000:6_000] = 0

    def norm(config: AudioConfig, waveform: np.ndarray) -> float:
        encoder = materialised(config)
        encoder(batch_of([transform(waveform, rng)])).tokens_BND.square().mean(1)[:, ::2].sum().backward()
        return math.sqrt(
            sum(float(p.grad.square().sum()) for p in encoder.parameters() if p.grad is not None)
        )

    assert norm(tiny, silent) < 10 * norm(tiny, sound)
    assert norm(replace(tiny, conv_bias=False), silent) > 1_000 * norm(tiny, sound)


def test_no_grad_inference_and_bf16_run(clips, batch_of, materialised, tiny, rng) -> None:
    encoder = materialised(tiny).train()
    masks = [sample_mask(values, 0.3, rng) for values in clips]
    expected = encoder(batch_of(clips, masks))
    with torch.no_grad():
        torch.testing.assert_close(encoder(batch_of(clips, masks)).tokens_BND, expected.tokens_BND)
    with torch.inference_mode():
        torch.testing.assert_close(encoder(batch_of(clips, masks)).tokens_BND, expected.tokens_BND)
    encoder.bfloat16()
    rounded = encoder(batch_of(clips, masks))
    assert rounded.tokens_BND.dtype == rounded.pooled_BD.dtype == torch.bfloat16
    assert (rounded.tokens_BND - expected.tokens_BND)[expected.valid_BN].abs().mean() < 0.1
    rounded.tokens_BND.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


def test_weights_after_meta_are_complete_and_follow_the_seed(config, materialised) -> None:
    one, two, other = (dict(materialised(config, seed).named_parameters()) for seed in (1, 1, 2))
    for name, parameter in one.items():
        assert parameter.isfinite().all(), name
        torch.testing.assert_close(parameter, two[name], rtol=0, atol=0)
    assert not torch.equal(one["mask_embedding"], other["mask_embedding"])


def test_the_position_convolution_starts_as_wav2vec_2_has_it(materialised, tiny) -> None:
    wide = replace(tiny, width=64, num_conv_pos_embeddings=16)
    conv = materialised(wide).model.encoder.pos_conv_embed.conv
    length_11K, direction = conv.parametrizations.weight.original0, conv.parametrizations.weight.original1
    assert direction.std().item() == pytest.approx(2 / math.sqrt(16 * 64), rel=0.05)
    torch.testing.assert_close(length_11K, direction.norm(dim=(0, 1), keepdim=True))
    torch.testing.assert_close(conv.weight, direction)
    assert not conv.bias.any()


def test_no_token_hidden_or_all_but_one(clips, batch_of, materialised, tiny) -> None:
    encoder = materialised(tiny)
    mask_N = np.ones(49, dtype=bool)
    mask_N[20] = False
    encoded = encoder(batch_of([clips[1]], [mask_N]))
    assert encoded.tokens_BND.shape == (1, 1, 32) and encoded.tokens_BND.isfinite().all()
    torch.testing.assert_close(encoded.pooled_BD, encoded.tokens_BND[:, 0])


@pytest.mark.parametrize("samples", [400, 16_000])
def test_flops_agree_with_torchs_counter(tiny, rng, batch_of, materialised, samples: int) -> None:
    config = replace(tiny, conv_dim=[16, 24, 24, 16, 16, 16, 32], max_seconds=3.0)
    values = build_transform(config, train=False)(rng.standard_normal(samples).astype(np.float32), rng)
    encoder = materialised(config)
    math_only = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with torch.no_grad(), math_only, FlopCounterMode(display=False) as counter:
        encoder(batch_of([values]))
    tokens = len(values.segment_N)
    assert flops(config, tokens, tokens) == pytest.approx(counter.get_total_flops(), rel=0.1)


def test_every_transformer_layer_is_a_shard_unit(config, materialised) -> None:
    encoder = materialised(config)
    assert sum(isinstance(module, shard_units()) for module in encoder.modules()) == config.layers
