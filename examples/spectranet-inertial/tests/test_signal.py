"""From a recording to tokens, and what people are shown of it."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from spectranet import DecodeError, ModalityBatch, Values
from spectranet_inertial.config import InertialConfig, problems
from spectranet_inertial.encoder import build_encoder, flops
from spectranet_inertial.fingerprint import fingerprint
from spectranet_inertial.preview import describe, preview
from spectranet_inertial.recording import Recording, decode
from spectranet_inertial.samples import example
from spectranet_inertial.signal import build_transform, largest, sample_mask
from spectranet_inertial.target import build_target_head


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def still(seconds: float, rate_hz: float = 50.0) -> Recording:
    signal_TC = np.tile(np.array([0, 0, 9.80665, 0, 2.0, 0], dtype=np.float32), (int(seconds * rate_hz), 1))
    return Recording(signal_TC, np.arange(len(signal_TC)) / rate_hz)


def test_tokens_are_patches_and_know_their_second() -> None:
    values = build_transform(InertialConfig(), train=False)(still(2.35, rate_hz=100), rng())

    assert values.data["patches"].shape == (11, 10, 6) and values.data["patches"].dtype == np.float32
    np.testing.assert_allclose(values.data["patches"][3, 4], [0, 0, 1, 0, 1, 0], atol=1e-6)
    assert values.position_NP.tolist() == [[patch] for patch in range(11)]
    assert values.segment_N.tolist() == [0] * 5 + [1] * 5 + [2]


def test_long_recordings_are_cropped_to_the_middle_and_in_training_anywhere() -> None:
    ramp_TC = np.zeros((1000, 6), dtype=np.float32)
    ramp_TC[:, 0] = np.arange(1000) / 50
    config = InertialConfig(max_seconds=4, rotation_deg=0, acceleration_noise_ms2=0, rotation_noise_rads=0)

    def first_s(train: bool, seed: int) -> float:
        values = build_transform(config, train)(Recording(ramp_TC, None), np.random.default_rng(seed))
        return float(values.data["patches"][0, 0, 0] * 9.80665)

    assert first_s(train=False, seed=0) == first_s(train=False, seed=1) == pytest.approx(8)
    starts = [first_s(train=True, seed=seed) for seed in range(60)]
    assert 0 <= min(starts) < 2 and 14 < max(starts) <= 16


def test_an_npy_file_is_read_at_the_stated_rate() -> None:
    config = InertialConfig(npy_rate_hz=100)

    assert (
        len(build_transform(config, train=False)(Recording(still(4).signal_TC, None), rng()).segment_N) == 10
    )


def test_augmentation_turns_both_sensors_alike_and_keeps_gravity() -> None:
    config = InertialConfig(rotation_deg=90, acceleration_noise_ms2=0, rotation_noise_rads=0)

    patches = build_transform(config, train=True)(still(3), rng()).data["patches"]

    np.testing.assert_allclose(np.linalg.norm(patches[..., :3], axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(patches[..., 3:], axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose((patches[..., :3] * patches[..., 3:]).sum(-1), 0, atol=1e-6)
    assert np.abs(patches[0, 0] - [0, 0, 1, 0, 1, 0]).max() > 0.1


def test_what_is_shorter_than_a_patch_is_told() -> None:
    with pytest.raises(DecodeError, match=r"0\.1 s are shorter than one patch of 0\.2 s"):
        build_transform(InertialConfig(), train=False)(still(0.1), rng())


@pytest.mark.parametrize("tokens", [2, 3, 7, 30])
@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.15, 0.5, 0.99])
def test_spans_hide_the_share_that_is_asked_for(tokens: int, ratio: float) -> None:
    values = Values({}, np.zeros((tokens, 1), np.int32), np.zeros(tokens, np.int32))
    wanted = 0 if ratio == 0 else min(max(round(ratio * tokens), 1), tokens - 1)

    masks = [sample_mask(values, ratio, np.random.default_rng(seed)) for seed in range(50)]

    assert {int(mask.sum()) for mask in masks} == {wanted}
    assert {mask.dtype for mask in masks} == {np.dtype(bool)} and {len(mask) for mask in masks} == {tokens}


def test_hidden_patches_stand_in_spans() -> None:
    values = Values({}, np.zeros((60, 1), np.int32), np.zeros(60, np.int32))
    masks = [sample_mask(values, 0.15, np.random.default_rng(seed)) for seed in range(50)]

    alone = np.mean([(np.diff(np.pad(mask, 1).astype(int)) == 1).sum() for mask in masks])

    assert alone <= 3  # nine patches in three spans


def batch_of(values: Values) -> ModalityBatch:
    tokens = len(values.segment_N)
    visible_BV, hidden_BH = torch.arange(0, tokens, 2)[None], torch.arange(1, tokens, 2)[None]
    return ModalityBatch(
        {"patches": torch.from_numpy(values.data["patches"])[None]},
        torch.from_numpy(values.position_NP)[None],
        torch.from_numpy(values.segment_N)[None],
        torch.ones(1, tokens, dtype=torch.bool),
        visible_BV,
        torch.ones_like(visible_BV, dtype=torch.bool),
        hidden_BH,
        torch.ones_like(hidden_BH, dtype=torch.bool),
        torch.zeros(1, dtype=torch.int64),
    )


def test_declared_flops_are_those_that_are_counted() -> None:
    config = InertialConfig(width=32, layers=2, heads=2, mlp_hidden=48)
    batch = batch_of(largest(config))
    encoder, head = build_encoder(config), build_target_head(config, 24)
    tokens, hidden = batch.valid_BN.shape[1], batch.hidden_BH.shape[1]

    with (
        FlopCounterMode(display=False) as of_encoder,
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    ):
        encoder(batch)
    with FlopCounterMode(display=False) as of_head:
        head(torch.zeros(1, hidden, 24), batch)

    assert of_encoder.get_total_flops() == flops(config, tokens, tokens - hidden)
    assert of_head.get_total_flops() == head.flops(hidden)


def test_the_largest_sample_is_as_long_as_any() -> None:
    config = InertialConfig(max_seconds=7.3)

    assert (
        len(largest(config).segment_N)
        == len(build_transform(config, train=False)(still(60), rng()).segment_N)
        == 36
    )


def test_masked_modelling_predicts_the_hidden_patches_themselves() -> None:
    config = InertialConfig(width=8)
    values = build_transform(config, train=False)(decode(example(rng())), rng())
    batch, head = batch_of(values), build_target_head(config, 8)
    with torch.no_grad():
        head.predict.weight.zero_()
        head.predict.bias.copy_(torch.from_numpy(values.data["patches"][1].ravel()) + 0.5)

    loss = head(torch.zeros(1, batch.hidden_BH.shape[1], 8), batch)

    target_HM = torch.from_numpy(values.data["patches"][1::2]).flatten(1)
    expected = torch.nn.functional.smooth_l1_loss(head.predict.bias.expand_as(target_HM), target_HM) * len(
        target_HM
    )
    assert loss.sum.item() == pytest.approx(expected.item(), rel=1e-5) and loss.weight == len(target_HM)


def bits_apart(one: int, other: int) -> int:
    return (one ^ other).bit_count()


def test_fingerprints_survive_noise_and_another_rate_and_tell_recordings_apart() -> None:
    recordings = [decode(example(np.random.default_rng(seed))) for seed in range(30)]
    noise = rng()
    noisy = [
        Recording(
            (r.signal_TC + 0.03 * noise.standard_normal(r.signal_TC.shape)).astype(np.float32), r.time_T
        )
        for r in recordings
    ]
    halved = [Recording((r.signal_TC[:-1:2] + r.signal_TC[1::2]) / 2, None) for r in recordings]
    hashes = [fingerprint(recording) for recording in recordings]

    assert all(0 <= each < 2**64 for each in hashes)
    for copies in (noisy, halved):
        assert max(bits_apart(a, fingerprint(b)) for a, b in zip(hashes, copies, strict=True)) <= 12
    others = [bits_apart(a, b) for place, a in enumerate(hashes) for b in hashes[:place]]
    assert np.median(others) > 24


def test_facts_of_a_recording() -> None:
    recording = still(12, rate_hz=100)
    recording.signal_TC[100:106, 0] = 156.9  # 16 g, for six steps
    recording.signal_TC[300, 1] = 156.9  # a peak alone is a peak

    facts = describe(InertialConfig(), recording)

    assert facts["duration_s"] == 12 and facts["rate_hz"] == pytest.approx(100)
    assert facts["saturated_percent"] == pytest.approx(100 * 6 / 1200)
    assert facts["mean_acceleration_ms2"] == pytest.approx(9.80665 + 7 * (157.2 - 9.8) / 1200, rel=1e-3)
    assert facts["cropped_to_max_seconds_share"] == 1


def test_the_drawing_is_a_png_that_veils_hidden_patches() -> None:
    values = build_transform(InertialConfig(), train=False)(still(4), rng())
    hidden_N = np.zeros(20, dtype=bool)
    hidden_N[:10] = True

    (drawn,) = preview(InertialConfig(), values, hidden_N)

    assert drawn.kind == "image"
    pixels = read_png(drawn.content)
    assert pixels.shape == (128, 420, 3)
    assert pixels[20, 5].tolist() != [255] * 3 and pixels[20, 400].tolist() == [255] * 3


def read_png(content: bytes) -> np.ndarray:
    """Pixels of an unfiltered RGB PNG; its chunks' sums are checked."""
    file, bodies = io.BytesIO(content), {}
    assert file.read(8) == b"\x89PNG\r\n\x1a\n"
    while head := file.read(8):
        length, kind = struct.unpack(">I4s", head)
        bodies[kind] = file.read(length)
        assert struct.unpack(">I", file.read(4))[0] == zlib.crc32(kind + bodies[kind])
    width, height = struct.unpack(">II", bodies[b"IHDR"][:8])
    rows = np.frombuffer(zlib.decompress(bodies[b"IDAT"]), np.uint8).reshape(height, 1 + 3 * width)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"rate_hz": 0.0}, "rate_hz is 0.0; it must be in 1 to 1000"),
        ({"patch_s": 0.15, "rate_hz": 50.0}, "must be a whole number of steps, not 7.5"),
        ({"segment_s": 0.5}, "must be a whole number of patches of patch_s, not 2.5"),
        ({"max_seconds": 0.1}, "shorter than one patch"),
        ({"max_seconds": 1e4}, "max_seconds is 10000.0; it must be in 0 to 600"),
        ({"heads": 3}, "heads (3) must divide width (256)"),
        ({"layers": 0}, "layers is 0; it must be at least 1"),
        ({"rotation_deg": 200.0}, "rotation_deg is 200.0; it must be in 0 to 180"),
        ({"acceleration_noise_ms2": -1.0}, "must not be negative"),
    ],
)
def test_settings_that_cannot_work_are_told(options: dict[str, float], told: str) -> None:
    assert any(told in problem for problem in problems(InertialConfig(**options)))  # type: ignore[arg-type]


def test_defaults_have_no_problem() -> None:
    assert list(problems(InertialConfig())) == []
