"""Bytes to mono 16 kHz: what is decoded, and what is refused."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from dataclasses import replace

import av
import numpy as np
import pytest

from spectranet import DecodeError
from spectranet_audio import decoding
from spectranet_audio.containers import ContainerTrack
from spectranet_audio.example import example
from spectranet_audio.recording import Recording

TONE_HZ = 440.0


def decode(data: bytes) -> np.ndarray:
    """The whole file at 16 kHz."""
    return np.asarray(decoding.decode(data))


def tone(seconds: float, rate: int, hz: float = TONE_HZ) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def silent_video() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video = container.add_stream("mpeg4", rate=10, width=32, height=32, pix_fmt="yuv420p")
        container.mux(
            video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24"))
        )
        container.mux(video.encode())
    return file.getvalue()


def loudest_hz(sound_T: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(sound_T * np.hanning(len(sound_T))))
    return float(np.argmax(spectrum) * 16_000 / len(sound_T))


def test_a_16_khz_wav_comes_back_sample_for_sample(wav_bytes) -> None:
    sound = tone(0.5, 16_000)
    np.testing.assert_array_equal(decode(wav_bytes(sound, subtype="FLOAT")), sound)


def test_stereo_44_1_khz_is_averaged_and_resampled_like_the_same_sine_at_16_khz(wav_bytes) -> None:
    left = tone(1.0, 44_100)
    decoded = decode(wav_bytes(np.stack([left, 0 * left], axis=1), 44_100, subtype="FLOAT"))
    expected = tone(1.0, 16_000) / 2
    assert decoded.dtype == np.float32 and len(decoded) == 16_000
    inside = slice(800, -800)  # the filter has no past at the ends
    np.testing.assert_allclose(decoded[inside], expected[inside], atol=1e-4)


@pytest.mark.parametrize(
    ("format", "subtype", "rate"),
    [
        ("FLAC", "PCM_16", 22_050),
        ("OGG", "VORBIS", 44_100),
        ("OGG", "OPUS", 48_000),
        ("WAV", "PCM_24", 8_000),
    ],
)
def test_formats_of_libsndfile_decode(wav_bytes, format: str, subtype: str, rate: int) -> None:
    decoded = decode(wav_bytes(tone(1.0, rate), rate, format, subtype))
    assert abs(len(decoded) - 16_000) <= 16
    assert abs(loudest_hz(decoded) - TONE_HZ) < 3
    assert abs(np.sqrt(2 * np.mean(decoded**2)) - 0.5) < 0.02


@pytest.mark.parametrize(
    ("format", "codec", "picture"),
    [("mp4", "aac", True), ("ipod", "aac", False), ("mp3", "libmp3lame", False), ("mov", "pcm_s16le", False)],
)
def test_sound_tracks_of_containers_decode(by_pyav, format: str, codec: str, picture: bool) -> None:
    left = tone(1.0, 44_100)
    decoded = decode(by_pyav(np.stack([left, left]), 44_100, format, codec, picture))
    assert 15_500 < len(decoded) < 17_500
    assert abs(loudest_hz(decoded) - TONE_HZ) < 3
    assert abs(np.sqrt(2 * np.mean(decoded[2000:-2000] ** 2)) - 0.5) < 0.03


def test_the_mean_of_channels_is_ours_in_containers_too(by_pyav) -> None:
    left = tone(1.0, 44_100)
    both = decode(by_pyav(np.stack([left, -left]), 44_100, "mov", "pcm_s16le"))
    assert np.abs(both).max() < 1e-3


JOINED = """
import sys
import numpy as np
from spectranet import DecodeError
from spectranet_audio.decoding import decode
try:
    np.asarray(decode(sys.stdin.buffer.read()))
except DecodeError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("first", "second"),
    [((2, 44_100), (1, 44_100)), ((1, 44_100), (2, 44_100)), ((1, 44_100), (1, 22_050))],
)
def test_a_stream_that_changes_its_channels_or_its_rate_is_refused(by_pyav, first, second) -> None:
    clean = [
        by_pyav(np.stack([tone(1.0, rate)] * channels), rate, "adts", "aac")
        for channels, rate in (first, second)
    ]
    # In a process of its own: FFmpeg reads planes that are not there if nothing stops it.
    told = subprocess.run(
        [sys.executable, "-c", JOINED], input=b"".join(clean), capture_output=True, check=True
    )
    assert told.stdout.startswith(b"the sound changes from ")


@pytest.mark.parametrize(("format", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")])
def test_a_file_cut_anywhere_is_refused(wav_bytes, rng, format: str, subtype: str) -> None:
    whole = wav_bytes(tone(0.6, 16_000) + 0.01 * rng.standard_normal(9600), 16_000, format, subtype)
    assert len(decode(whole)) == 9600
    cuts = {len(whole) // 2, len(whole) - 2, 20, 45, *rng.integers(1, len(whole) - 1, size=40).tolist()}
    for cut in sorted(cuts):
        with pytest.raises(DecodeError):
            decode(whole[:cut])


@pytest.mark.parametrize(("format", "codec"), [("mp3", "libmp3lame"), ("ipod", "aac"), ("mp4", "aac")])
def test_half_a_container_is_refused(by_pyav, format: str, codec: str) -> None:
    whole = by_pyav(np.stack([tone(2.0, 44_100)]), 44_100, format, codec)
    with pytest.raises(DecodeError):
        decode(whole[: len(whole) // 2])


def test_half_an_mp4_whose_index_stands_first_is_refused_by_its_length(tmp_path) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("aac", rate=44_100, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(2.0, 44_100)[None], format="fltp", layout="mono")
        frame.sample_rate = 44_100
        container.mux([*stream.encode(frame), *stream.encode()])
    whole = path.read_bytes()
    assert whole.index(b"moov") < whole.index(b"mdat")
    assert abs(len(decode(whole)) - 32_000) < 1_000
    with pytest.raises(DecodeError, match=r"truncated|not readable"):
        decode(whole[: len(whole) // 2])


def test_a_wav_from_a_pipe_that_declares_no_length_decodes(wav_bytes) -> None:
    whole = bytearray(wav_bytes(tone(0.2, 16_000)))
    struct.pack_into("<I", whole, whole.index(b"data") + 4, 0xFFFFFFFF)
    assert len(decode(bytes(whole))) == 3200


def test_chunks_before_the_sound_are_stepped_over(wav_bytes) -> None:
    whole = wav_bytes(tone(0.2, 16_000))
    note = b"LIST" + struct.pack("<I", 5) + b"hello\0"
    place = whole.index(b"data")
    decoded = decode(whole[:place] + note + whole[place:])
    assert len(decoded) == 3200


def test_what_a_file_is_called_does_not_matter_but_what_it_is(rng) -> None:
    wav = example(rng)
    assert wav[:4] == b"RIFF" and len(decode(wav)) > 0
    start_of_a_jpeg = b"\xff\xd8\xff\xe0" + bytes(200)
    with pytest.raises(DecodeError, match=r"not readable as sound|no audio stream"):
        decode(start_of_a_jpeg)


@pytest.mark.parametrize(
    "junk", [b"", b"RIFF", b"RIFF\0\0\0\0WAVE", b"fLaC", b"OggS", b"ID3", b"\0" * 64, b"text"]
)
def test_junk_is_refused(junk: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(junk)


def test_random_bytes_after_any_magic_only_ever_raise_decode_errors(rng) -> None:
    for magic in (
        b"RIFF\x24\1\0\0WAVEfmt ",
        b"fLaC\0\0\0\x22",
        b"OggS\0\2",
        b"\xff\xfb\x90",
        b"\0\0\0\x20ftypisom",
    ):
        for _ in range(20):
            data = magic + rng.bytes(300)
            try:
                sound = decode(data)
            except DecodeError:
                continue
            assert sound.ndim == 1 and np.isfinite(sound).all()


def test_no_samples_are_refused(wav_bytes) -> None:
    with pytest.raises(DecodeError, match="zero samples"):
        decode(wav_bytes(np.zeros(0, np.float32)))


def test_an_mp4_without_sound_is_refused() -> None:
    with pytest.raises(DecodeError, match="no audio stream"):
        decode(silent_video())


def test_samples_that_are_not_finite_are_refused(wav_bytes) -> None:
    sound = tone(0.1, 16_000)
    sound[5] = np.nan
    with pytest.raises(DecodeError, match="finite"):
        decode(wav_bytes(sound, subtype="FLOAT"))


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG"])
def test_limits_hold_before_decoding(wav_bytes, format: str) -> None:
    whole = wav_bytes(tone(2.0, 16_000), format=format)
    with pytest.raises(DecodeError, match="bytes are over the limit"):
        decoding.decode(whole, max_bytes=len(whole) - 1)
    with pytest.raises(DecodeError, match=r"2\.0 s are over the limit"):
        decoding.decode(whole, max_seconds=1.9)


@pytest.mark.parametrize(("format", "codec"), [("ipod", "aac"), ("mp3", "libmp3lame"), ("adts", "aac")])
def test_limits_hold_in_containers_before_decoding(by_pyav, format: str, codec: str) -> None:
    whole = by_pyav(np.stack([tone(2.0, 44_100)]), 44_100, format, codec)  # ADTS declares no length
    with pytest.raises(DecodeError, match=r"limit of 1\.0 s"):
        decoding.decode(whole, max_seconds=1.0)


def test_a_small_file_of_hours_opens_and_is_never_decoded_whole(wav_bytes) -> None:
    hours = np.zeros(2 * 3600 * 1_000, np.int16)
    hours[-1_000:] = 3_000 * tone(1.0, 1_000, hz=100)
    small = wav_bytes(hours, 1_000, "FLAC")
    recording = decoding.decode(small)
    assert len(small) < 2**17 and len(recording) == 2 * 3600 * 16_000
    assert not recording[16_000 * 4_000 : 16_000 * 4_001].any()
    assert recording[-16_000:].std() > 0.02
    with pytest.raises(DecodeError, match="7200 s at once are over the limit of 3600 s"):
        recording[:]


def test_an_absurd_sample_rate_is_refused(wav_bytes) -> None:
    with pytest.raises(DecodeError, match="sample rate"):
        decode(wav_bytes(tone(1.0, 100), 100))


def test_half_an_mp3_is_refused_by_its_info_tag_before_decoding(by_pyav) -> None:
    whole = by_pyav(np.stack([tone(4.0, 44_100)]), 44_100, "mp3", "libmp3lame")
    picture = b"ID3\x04\0\0" + bytes([0, 0, 100, 0]) + bytes(12_800)
    for data in (whole, picture + whole):
        assert len(decoding.decode(data)) == 64_000
        with pytest.raises(DecodeError, match="truncated MP3"):
            decoding.decode(data[: len(data) - len(whole) // 2])


def test_an_mp3_that_declares_no_length_is_measured_by_its_packets(by_pyav) -> None:
    whole = by_pyav(np.stack([tone(2.0, 44_100)]), 44_100, "mp3", "libmp3lame")
    tag = whole.index(b"Info") if b"Info" in whole else whole.index(b"Xing")
    headless = whole[:tag] + bytes(4) + whole[tag + 4 :]
    recording = decoding.decode(headless)
    assert 32_000 < len(recording) < 34_500  # with the encoder's delay
    assert abs(loudest_hz(recording[16_000:]) - TONE_HZ) < 3


def test_a_track_may_end_a_little_before_its_declared_length_but_not_earlier(by_pyav) -> None:
    track = decoding.decode(by_pyav(tone(1.0, 44_100)[None], 44_100, "mp3", "libmp3lame")).track
    assert isinstance(track, ContainerTrack) and track.frames == 44_100
    filled = Recording(replace(track, frames=44_100 + 8_820))[:]  # 0.2 s
    assert len(filled) == 19_200
    assert filled[:15_900].std() > 0.3 and not filled[16_200:].any()
    with pytest.raises(DecodeError, match=r"truncated: 1\.00 of 1\.30 s"):
        Recording(replace(track, frames=44_100 + 13_230))[:]


@pytest.mark.parametrize(
    "text",
    ["ffconcat version 1.0\nfile secret.wav\n", "v=0\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"],
)
def test_a_text_that_names_other_files_or_addresses_opens_none(
    wav_bytes, tmp_path, monkeypatch, text: str
) -> None:
    (tmp_path / "secret.wav").write_bytes(wav_bytes(tone(1.0, 16_000)))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DecodeError, match="not readable as sound: Invalid argument"):
        decoding.decode(text.encode())


@pytest.mark.parametrize("format", ["wav", "flac", "ogg", "mp3", "ipod", "adts", "matroska"])
def test_damage_anywhere_gives_finite_sound_or_a_decode_error(wav_bytes, by_pyav, rng, format: str) -> None:
    sound_T = tone(1.0, 44_100) + 0.1 * rng.standard_normal(44_100).astype(np.float32)
    if format in ("wav", "flac", "ogg"):
        whole = wav_bytes(sound_T, 44_100, format.upper())
    else:
        whole = by_pyav(sound_T[None], 44_100, format, "libmp3lame" if format == "mp3" else "aac")
    for attempt in range(40):
        damaged = bytearray(whole)
        for _ in range(8):
            damaged[rng.integers(len(whole) if attempt % 2 else 600)] = rng.integers(256)
        try:
            recording = decoding.decode(bytes(damaged))
            start = int(rng.integers(len(recording)))
            span = recording[start : start + 4_000]
        except DecodeError:
            continue
        assert np.isfinite(span).all() and len(span) == min(4_000, len(recording) - start)
