"""WAV samples that are read from the bytes directly: the same as libsndfile's."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from spectranet import DecodeError
from spectranet_audio.decoding import decode
from spectranet_audio.sndfile import SndfileTrack
from spectranet_audio.wav import WavTrack


def full_range(rng: np.random.Generator, channels: int) -> np.ndarray:
    sound = rng.uniform(-1, 1, (4_001, channels)).astype(np.float32)
    sound[:2] = [[-1.0], [1.0]]
    return sound


@pytest.mark.parametrize("format", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_samples_equal_libsndfiles(wav_bytes, rng, format: str, channels: int, subtype: str) -> None:
    data = wav_bytes(full_range(rng, channels), format=format, subtype=subtype)
    recording = decode(data)
    assert isinstance(recording.track, WavTrack)
    expected, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    np.testing.assert_allclose(recording[:], expected.mean(axis=1), atol=1e-7, rtol=0)
    np.testing.assert_array_equal(recording[1_000:1_500], recording[:][1_000:1_500])


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "IMA_ADPCM"])
def test_compressed_samples_are_left_to_libsndfile(wav_bytes, rng, subtype: str) -> None:
    data = wav_bytes(0.5 * full_range(rng, 1), subtype=subtype)
    recording = decode(data)
    assert isinstance(recording.track, SndfileTrack)
    expected, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    np.testing.assert_array_equal(recording[:], expected)


def test_big_endian_wav_is_left_to_libsndfile(rng) -> None:
    file = io.BytesIO()
    sound = full_range(rng, 1)[:, 0]
    soundfile.write(file, sound, 16_000, format="WAV", subtype="FLOAT", endian="BIG")
    assert file.getvalue()[:4] == b"RIFX"
    np.testing.assert_array_equal(decode(file.getvalue())[:], sound)


def test_only_the_span_that_is_read_must_be_finite(wav_bytes) -> None:
    sound = np.zeros(48_000, np.float32)
    sound[40_000] = np.inf
    recording = decode(wav_bytes(sound, subtype="FLOAT"))
    assert not recording[:32_000].any()
    with pytest.raises(DecodeError, match="finite"):
        recording[32_000:]


def test_a_double_too_large_for_float32_is_not_finite(wav_bytes) -> None:
    with pytest.raises(DecodeError, match="finite"):
        decode(wav_bytes(np.full(800, 1e300), subtype="DOUBLE"))[:]
