"""What people see and hear of a sound is what the model gets, hidden frames veiled."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import soundfile

from spectranet_audio.config import AudioConfig
from spectranet_audio.plugin import AUDIO


def pixels_of(png: bytes) -> np.ndarray:
    """uint8 (H, W, 3) of an RGB PNG whose rows are unfiltered; every chunk is checked."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        name, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        assert struct.unpack(">I", png[at + 8 + size : at + 12 + size])[0] == zlib.crc32(name + body)
        chunks[name], at = body, at + 12 + size
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), dtype=np.uint8).reshape(height, 1 + 3 * width)
    assert not rows[:, 0].any() and chunks[b"IEND"] == b""
    return rows[:, 1:].reshape(height, width, 3)


@pytest.mark.parametrize("config", [AudioConfig(), AudioConfig(max_seconds=0.3, gain_db=6)])
def test_the_picture_veils_hidden_frames_and_the_sound_is_that_of_the_transform(config: AudioConfig):
    rng = np.random.default_rng(0)
    values = AUDIO.build_transform(config, True)(AUDIO.decode(AUDIO.example(rng)), rng)
    hidden_N = np.arange(len(values.segment_N)) < len(values.segment_N) // 2

    picture, sound = AUDIO.preview(config, values, hidden_N)
    bare, _ = AUDIO.preview(config, values, np.zeros_like(hidden_N))

    same_W = (pixels_of(picture.content) == pixels_of(bare.content)).all(axis=(0, 2))
    share = hidden_N.mean()
    assert np.flatnonzero(same_W)[0] == pytest.approx(share * len(same_W), abs=2), "hidden at the beginning"
    assert same_W.mean() == pytest.approx(1 - share, abs=0.01)
    heard, rate = soundfile.read(io.BytesIO(sound.content))
    waveform = values.data["waveform"]
    assert (rate, len(heard)) == (16_000, len(waveform))
    assert np.corrcoef(heard, waveform)[0, 1] > 0.999 and np.abs(heard).max() == pytest.approx(0.9, abs=0.01)


def test_silence_can_be_shown():
    config = AudioConfig()
    values = AUDIO.build_transform(config, False)(np.zeros(8000, dtype=np.float32), np.random.default_rng(0))

    picture, _ = AUDIO.preview(config, values, np.zeros(len(values.segment_N), dtype=bool))

    assert pixels_of(picture.content).shape[2] == 3


def test_length_level_and_what_is_cropped_are_told():
    half_scale = np.full(16_000, 0.5, dtype=np.float32)

    facts = AUDIO.describe(AudioConfig(max_seconds=0.5), half_scale)

    assert facts["duration_s"] == 1.0 and facts["cropped_to_max_seconds_share"] == 1
    assert facts["level_db"] == pytest.approx(-6.02, abs=0.01)
    assert AUDIO.describe(AudioConfig(), 0 * half_scale)["level_db"] == -100
    assert AUDIO.describe(AudioConfig(), half_scale)["cropped_to_max_seconds_share"] == 0
