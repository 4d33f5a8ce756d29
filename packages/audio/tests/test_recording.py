"""Spans of recordings: the samples of the whole file's resampling, without decoding the whole file."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import soxr

from spectranet_audio import containers, recording, sndfile, wav
from spectranet_audio.config import AudioConfig
from spectranet_audio.decoding import decode
from spectranet_audio.recording import BLOCK
from spectranet_audio.transform import build_transform

SPANS = [(0, 1), (0, 400), (7_777, 23_777), (31_999, 32_001), (40_000, 48_000), (47_999, 48_000)]


def melody(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    """(T, C): a different sound at every moment, so that a misplaced span shows."""
    time_s = np.arange(round(seconds * rate)) / rate
    sweep = 0.4 * np.sin(2 * np.pi * (200 + 100 * time_s) * time_s)
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(time_s))
    return np.stack([sweep + noise] * channels, axis=1).astype(np.float32)


@pytest.fixture
def samples_decoded(monkeypatch) -> Callable[[], int]:
    """How many samples of a channel were decoded so far, by whichever track."""
    counted: list[int] = []

    def counting(sound_TC: np.ndarray) -> np.ndarray:
        counted.append(len(sound_TC))
        return recording.mean_of_channels(sound_TC)

    for module in (containers, sndfile, wav):
        monkeypatch.setattr(module, "mean_of_channels", counting)
    return lambda: sum(counted)


@pytest.mark.parametrize("rate", [1_000, 8_000, 11_025, 16_000, 16_001, 22_050, 44_100, 48_000, 192_000])
def test_a_span_equals_the_same_place_of_the_whole_resampled(wav_bytes, rate: int) -> None:
    sound = melody(3.0, rate)[:, 0]
    whole = soxr.resample(sound, rate, 16_000, quality="HQ")
    opened = decode(wav_bytes(sound, rate, subtype="FLOAT"))
    assert len(opened) == len(whole) == 48_000
    for start, stop in SPANS:
        np.testing.assert_allclose(opened[start:stop], whole[start:stop], atol=1e-6, rtol=0)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 44_101])
def test_its_length_is_that_of_the_whole_resampled(wav_bytes, rate: int) -> None:
    for samples in (2, 3, 441, 999, 10_007):
        opened = decode(wav_bytes(np.zeros(samples), rate))
        assert len(opened) == len(opened[:]) == len(soxr.resample(np.zeros(samples), rate, 16_000))


def test_a_span_of_many_blocks_is_streamed_to_the_same_samples_in_bounded_memory(wav_bytes) -> None:
    sound = melody(60.0, 44_100, channels=2)
    assert len(sound) > 10 * BLOCK
    data = wav_bytes(sound, 44_100, subtype="PCM_16")
    tracemalloc.start()
    whole = decode(data)[:]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * whole.nbytes + 16 * BLOCK * 4
    expected = soxr.resample(sound[:, 0], 44_100, 16_000, quality="HQ")
    np.testing.assert_allclose(whole, expected, atol=4e-5)  # 16 bits


@pytest.mark.parametrize(
    ("format", "subtype", "apart"),
    [("WAV", "PCM_24", 1e-6), ("FLAC", "PCM_16", 1e-6), ("OGG", "VORBIS", 1e-6), ("OGG", "OPUS", 1e-3)],
)
def test_libsndfiles_spans_equal_the_whole(
    wav_bytes, samples_decoded, format: str, subtype: str, apart: float
) -> None:
    rate = 48_000
    data = wav_bytes(melody(3.0, rate, channels=2), rate, format, subtype)
    whole = decode(data)[:]
    for start, stop in SPANS:
        before = samples_decoded()
        span = decode(data)[start:stop]
        np.testing.assert_allclose(span, whole[start:stop], atol=apart, rtol=0)
        assert samples_decoded() - before < 3 * (stop - start) + 3_000


@pytest.mark.parametrize(
    ("format", "codec", "apart"),
    [("mp3", "libmp3lame", 1e-6), ("mov", "pcm_s16le", 1e-6), ("ipod", "aac", 0.3), ("adts", "aac", 0.3)],
)
def test_spans_of_containers_lie_where_they_lie_in_the_whole(
    by_pyav, samples_decoded, format: str, codec: str, apart: float
) -> None:
    """AAC draws noise anew after a seek, so its samples are not equal; half a sample off is 0.9."""
    rate = 44_100
    data = by_pyav(melody(6.0, rate, channels=2).T, rate, format, codec)
    opened = decode(data)
    whole = opened[:]
    for start, stop in ((0, 8_000), (9_000, 20_000), (60_000, 76_000), (95_000, 96_000)):
        before = samples_decoded()
        span = opened[start:stop]
        assert samples_decoded() - before < (stop - start) * 2.8 + 0.6 * rate
        error = np.sqrt(np.mean((span - whole[start:stop]) ** 2) / np.mean(whole[start:stop] ** 2))
        assert error < apart, (start, stop)


@pytest.mark.parametrize(
    ("format", "codec"),
    [("mp3", "libmp3lame"), ("ipod", "aac"), ("adts", "aac"), ("matroska", "aac"), ("avi", "mp3")],
)
def test_the_same_span_is_the_same_bit_for_bit_whatever_was_read_before(
    by_pyav, format: str, codec: str
) -> None:
    data = by_pyav(melody(4.0, 44_100).T, 44_100, format, codec)
    opened = decode(data)
    first = opened[30_000:40_000]
    opened[:5_000], opened[50_000:]
    np.testing.assert_array_equal(opened[30_000:40_000], first)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(opened))[30_000:40_000], first)
    np.testing.assert_array_equal(decode(data)[30_000:40_000], first)
    assert first.std() > 0.1


def test_it_is_sliced_like_the_array_it_stands_for(wav_bytes) -> None:
    opened = decode(wav_bytes(melody(0.5, 8_000), 8_000))
    whole = np.asarray(opened)
    assert whole.dtype == np.float32 and len(whole) == len(opened) == 8_000
    assert np.asarray(opened, dtype=np.float64).dtype == np.float64
    for span in (slice(-100, None), slice(None, 10), slice(7_990, 9_000), slice(5, 5), slice(9, 3)):
        assert len(opened[span]) == len(whole[span])
        np.testing.assert_allclose(opened[span], whole[span], atol=1e-6)
    with pytest.raises(ValueError, match="step of 1"):
        opened[::2]


def test_the_transform_decodes_only_its_crop(wav_bytes, samples_decoded) -> None:
    data = wav_bytes(melody(30.0, 44_100, channels=2), 44_100, "FLAC")
    config = AudioConfig(max_seconds=2.0)
    for train in (True, False):
        before = samples_decoded()
        transform = build_transform(config, train)
        values = transform(decode(data), np.random.default_rng(1))
        assert samples_decoded() - before < 2.1 * 44_100
        whole = transform(decode(data)[:], np.random.default_rng(1))
        np.testing.assert_allclose(values.data["waveform"], whole.data["waveform"], atol=1e-5)
        np.testing.assert_allclose(values.data["mel"], whole.data["mel"], atol=1e-3)
