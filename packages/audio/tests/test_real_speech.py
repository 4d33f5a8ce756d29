"""Spoken digits, as people recorded them. Skipped where the sample data is not at hand."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from spectranet_audio.decoding import decode
from spectranet_audio.fingerprint import fingerprint
from spectranet_audio.transform import build_transform

DATA = Path(__file__).parents[4] / "shared" / "data"
DIGITS = DATA / "spoken_digits"
CLIPS = DATA / "clips"

pytestmark = pytest.mark.skipif(not DIGITS.is_dir(), reason=f"no sample data at {DATA}")


def recordings(step: int) -> list[Path]:
    rows = (DIGITS / "transcripts.jsonl").read_text().splitlines()
    return [DIGITS / json.loads(row)["audio"] for row in rows[::step]]


def as_mp3(sound_T: np.ndarray) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(sound_T[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        for piece in av.AudioResampler(format=stream.format, frame_size=stream.frame_size).resample(frame):
            container.mux(stream.encode(piece))
        container.mux(stream.encode())
    return file.getvalue()


def distance(one: int, two: int) -> int:
    return (one ^ two).bit_count()


def test_every_digit_decodes_to_its_length_and_gives_frames(tiny, rng) -> None:
    transform = build_transform(tiny, train=True)
    for path in recordings(step=60):
        sound = decode(path.read_bytes())[:]
        seconds = soundfile.info(path).duration
        assert abs(len(sound) / 16_000 - seconds) < 1e-3 and 0.005 < np.abs(sound).max() <= 1.2
        values = transform(sound, rng)
        assert np.isfinite(values.data["mel"]).all()
        assert len(values.segment_N) == (min(len(sound), 32_000) - 400) // 320 + 1


def test_clips_with_a_sound_track_decode() -> None:
    sounding = 0
    for path in sorted(CLIPS.rglob("*.mp4")):
        with av.open(str(path)) as container:
            has_sound = bool(container.streams.audio)
        if has_sound:
            sounding += 1
            assert 0.5 < len(decode(path.read_bytes())) / 16_000 < 2.0
    assert sounding >= 9


def test_fingerprints_tell_recordings_apart_and_survive_loudness_and_mp3() -> None:
    sounds = [decode(path.read_bytes())[:] for path in recordings(step=100)]
    hashes = [fingerprint(sound) for sound in sounds]
    assert all(0 <= value < 2**64 for value in hashes)
    apart = [distance(one, two) for one, two in itertools.combinations(hashes, 2)]
    assert np.percentile(apart, 1) > 10 and np.median(apart) > 20
    louder = [distance(fingerprint(0.3 * sound), value) for sound, value in zip(sounds, hashes, strict=True)]
    assert max(louder) <= 1
    coded = [distance(fingerprint(decode(as_mp3(s))), value) for s, value in zip(sounds, hashes, strict=True)]
    assert np.median(coded) <= 5 and np.percentile(coded, 90) <= 10
