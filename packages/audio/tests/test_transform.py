"""Crops, normalisation, augmentation, frames and targets of one clip; batches of clips."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchaudio.transforms import MelSpectrogram
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from spectranet_audio.config import AudioConfig
from spectranet_audio.features import log_mel, mel_target
from spectranet_audio.frames import frame_count
from spectranet_audio.transform import build_transform, collate


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def test_frames_are_counted_as_transformers_counts_them() -> None:
    with torch.device("meta"):
        model = Wav2Vec2Model(Wav2Vec2Config(hidden_size=16, num_attention_heads=1, num_hidden_layers=1))
    lengths = [400, 401, 719, 720, 721, 1039, 1040, 16_000, *range(5_000, 6_000, 7), 160_001]
    assert [frame_count(length) for length in lengths] == [
        int(model._get_feat_extract_output_lengths(length)) for length in lengths
    ]


@pytest.mark.parametrize("bins", [80, 40, 128])
def test_log_mel_equals_torchaudio(bins: int) -> None:
    sound = noise(5_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torchaudio warns where a triangle is empty
        oracle = MelSpectrogram(
            16_000, n_fft=400, hop_length=320, n_mels=bins, center=False, norm="slaney", mel_scale="slaney"
        )
    expected = torch.log(oracle(torch.from_numpy(sound)) + 1e-5).T.numpy()
    mel = log_mel(sound, bins)
    assert mel.dtype == np.float32 and mel.shape == (frame_count(5_000), bins)
    np.testing.assert_allclose(mel, expected, atol=2e-5)


def test_target_frame_sees_exactly_the_samples_of_its_encoder_frame() -> None:
    sound = noise(4_000)
    changed = sound.copy()
    changed[3 * 320 : 3 * 320 + 400] += 0.3  # frame 3, and the 80 samples it shares on either side
    moved = np.abs(log_mel(sound, 80) - log_mel(changed, 80)).max(axis=1) > 1e-6
    assert moved[[2, 3, 4]].all() and not moved[[0, 1, 5, 6, 7]].any()


def test_target_is_normalised_per_clip_and_silence_is_zero() -> None:
    target = mel_target(noise(8_000), 80)
    assert abs(target.mean()) < 1e-5 and abs(target.std() - 1) < 1e-5
    assert not mel_target(np.zeros(8_000, np.float32), 80).any()


def test_values_of_a_clip(rng, tiny) -> None:
    values = build_transform(tiny, train=False)(noise(16_000), rng)
    assert values.data["waveform"].shape == (16_000,) and values.data["waveform"].dtype == np.float32
    assert values.data["mel"].shape == (49, 80) and values.data["mel"].dtype == np.float32
    np.testing.assert_array_equal(values.position_NP, np.arange(49)[:, None])
    assert values.position_NP.dtype == values.segment_N.dtype == np.int32
    np.testing.assert_array_equal(np.bincount(values.segment_N), [10, 10, 10, 10, 9])  # 200 ms each


def test_normalisation_equals_transformers(rng, tiny) -> None:
    sound = noise(9_000) + 0.2
    expected = Wav2Vec2FeatureExtractor(do_normalize=True)(sound, sampling_rate=16_000)["input_values"][0]
    values = build_transform(tiny, train=False)(sound, rng)
    np.testing.assert_allclose(values.data["waveform"], expected, atol=1e-5)
    plain = build_transform(replace(tiny, normalise=False), train=False)(sound, rng)
    np.testing.assert_array_equal(plain.data["waveform"], sound)


@pytest.mark.parametrize("samples", [1, 100, 399, 400])
def test_very_short_clips_get_one_frame(rng, tiny, samples: int) -> None:
    for train in (False, True):
        values = build_transform(replace(tiny, shift_ms=10.0), train)(noise(samples), rng)
        assert len(values.segment_N) >= 1 and values.data["mel"].shape[0] == len(values.segment_N)
        assert np.isfinite(values.data["mel"]).all() and np.isfinite(values.data["waveform"]).all()


def test_long_clips_are_cropped_at_random_in_training_and_to_the_centre_otherwise(rng) -> None:
    config = AudioConfig(max_seconds=1.0, normalise=False)
    sound = np.arange(48_000, dtype=np.float32)
    centre = build_transform(config, train=False)(sound, rng).data["waveform"]
    np.testing.assert_array_equal(centre, sound[16_000:32_000])
    starts = {build_transform(config, train=True)(sound, rng).data["waveform"][0] for _ in range(20)}
    assert len(starts) > 15 and min(starts) < 10_000 and max(starts) > 22_000


def test_augmentation_off_is_exact_and_draws_nothing(tiny) -> None:
    sound, rng = noise(16_000), np.random.default_rng(3)
    before = rng.bit_generator.state
    trained = build_transform(tiny, train=True)(sound, rng)
    assert rng.bit_generator.state == before
    evaluated = build_transform(tiny, train=False)(sound, rng)
    np.testing.assert_array_equal(trained.data["waveform"], evaluated.data["waveform"])


def test_augmentation_is_for_training_only(rng, tiny) -> None:
    augmented = replace(tiny, gain_db=6.0, shift_ms=50.0, noise=0.3)
    sound = noise(16_000)
    np.testing.assert_array_equal(
        build_transform(augmented, train=False)(sound, rng).data["waveform"],
        build_transform(tiny, train=False)(sound, rng).data["waveform"],
    )


def test_gain_changes_loudness_within_its_range(rng, tiny) -> None:
    transform = build_transform(replace(tiny, gain_db=6.0), train=True)
    levels_db = [20 * np.log10(transform(noise(8_000), rng).data["waveform"].std()) for _ in range(60)]
    assert -6.01 < min(levels_db) < -3 and 3 < max(levels_db) < 6.01


def test_shift_moves_the_sound_within_its_range(rng, tiny) -> None:
    transform = build_transform(replace(tiny, shift_ms=20.0, normalise=False), train=True)
    click = np.zeros(8_000, np.float32)
    click[4_000] = 1
    shifts = [int(transform(click, rng).data["waveform"].argmax()) - 4_000 for _ in range(60)]
    assert -320 <= min(shifts) < -100 and 100 < max(shifts) <= 320


def test_shift_never_exceeds_the_longest_clip(rng, tiny) -> None:
    transform = build_transform(replace(tiny, shift_ms=100.0), train=True)
    assert max(len(transform(noise(32_000), rng).data["waveform"]) for _ in range(20)) == 32_000


def test_noise_is_added_up_to_its_share(rng, tiny) -> None:
    sound = noise(8_000)
    clean = build_transform(tiny, train=True)(sound, rng).data["waveform"]
    transform = build_transform(replace(tiny, noise=0.5), train=True)
    shares = [float((transform(sound, rng).data["waveform"] - clean).std() / clean.std()) for _ in range(40)]
    assert min(shares) < 0.2 and 0.3 < max(shares) < 0.52


def test_the_same_generator_state_gives_the_same_values_also_after_pickling(tiny) -> None:
    config = replace(tiny, max_seconds=0.5, gain_db=6.0, shift_ms=50.0, noise=0.3)
    transform = build_transform(config, train=True)
    again = pickle.loads(pickle.dumps(transform))
    one = transform(noise(16_000), np.random.default_rng(5))
    two = again(noise(16_000), np.random.default_rng(5))
    other = transform(noise(16_000), np.random.default_rng(6))
    np.testing.assert_array_equal(one.data["waveform"], two.data["waveform"])
    np.testing.assert_array_equal(one.data["mel"], two.data["mel"])
    assert not np.array_equal(one.data["waveform"][:4_000], other.data["waveform"][:4_000])


def test_the_decoded_clip_is_left_as_it_was(rng, tiny) -> None:
    sound = noise(8_000)
    before = sound.copy()
    sound.flags.writeable = False
    build_transform(replace(tiny, gain_db=6.0, shift_ms=50.0, noise=0.3), train=True)(sound, rng)
    np.testing.assert_array_equal(sound, before)


def test_collate_pads_with_zeros_and_tells_the_lengths(rng, tiny) -> None:
    transform = build_transform(tiny, train=False)
    samples = [transform(noise(length), rng).data for length in (8_000, 12_345)]
    data = collate(samples)
    assert data["samples"].tolist() == [8_000, 12_345] and data["samples"].dtype == torch.int64
    assert data["waveform"].shape == (2, 12_345) and data["mel"].shape == (2, frame_count(12_345), 80)
    np.testing.assert_array_equal(data["waveform"][0, :8_000].numpy(), samples[0]["waveform"])
    assert not data["waveform"][0, 8_000:].any() and not data["mel"][0, frame_count(8_000) :].any()
    np.testing.assert_array_equal(data["mel"][1].numpy(), samples[1]["mel"])
