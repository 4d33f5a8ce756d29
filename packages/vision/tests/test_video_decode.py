"""What decode_video promises: cheap checks first, then the frame that is shown at a moment."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest

from spectranet import DecodeError
from spectranet_vision import video_decode
from spectranet_vision.examples import mp4_example
from spectranet_vision.video_decode import decode_video

FRAME_S = 0.1


def write_clip(
    path: Path, count: int, codec: str = "libx264", seconds_of_sound: float = 0, **options: str
) -> bytes:
    """Frames of 64x48 whose brightness is their number times 5, at ten a second."""
    container_options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=container_options) as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.bit_rate = 4_000_000
        sound = (
            container.add_stream("pcm_s16le" if path.suffix == ".mkv" else "aac", rate=8000)
            if seconds_of_sound
            else None
        )
        for number in range(count):
            image = np.full((48, 64, 3), number * 5, dtype=np.uint8)
            image[:, :32] = 255 - number * 5
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
        if sound is not None:
            silence = np.zeros((1, int(8000 * seconds_of_sound)), dtype=np.int16)
            frame = av.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
            frame.sample_rate = 8000
            container.mux(sound.encode(frame))
            container.mux(sound.encode())
    return path.read_bytes()


def number_of(frame: np.ndarray) -> int:
    return round(float(frame[:, 40:].mean()) / 5)


def numbers_at(data: bytes, moments_s: list[float]) -> list[int]:
    return [number_of(frame) for frame in decode_video(data).frames_at(moments_s)]


def test_the_container_is_read_without_decoding(tmp_path):
    clip = decode_video(write_clip(tmp_path / "a.mp4", 20))
    assert (clip.format, clip.width, clip.height) == ("mp4", 64, 48)
    assert clip.duration_s == pytest.approx(2.0) and clip.frame_s == pytest.approx(FRAME_S)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx-vp9"), ("a.avi", "mpeg4")]
)
def test_each_moment_gets_the_frame_shown_then(tmp_path, name, codec):
    data = write_clip(tmp_path / name, 20, codec)
    middles = [(n + 0.5) * FRAME_S for n in (0, 3, 3, 4, 11, 19)]
    assert numbers_at(data, middles) == [0, 3, 3, 4, 11, 19]


def test_a_frame_lasts_until_the_next_begins(tmp_path):
    data = write_clip(tmp_path / "a.mp4", 10)
    assert numbers_at(data, [0.0, 0.01, 0.06, 0.3, 0.37]) == [0, 0, 0, 3, 3]


def test_jumping_over_key_frames_finds_the_same_frames(tmp_path, monkeypatch):
    """B-frames and a key frame every 8: seeks land early enough, and far fewer frames are decoded."""
    data = write_clip(tmp_path / "a.mp4", 50, g="8", bf="3", sc_threshold="0")
    jumps: list[float] = []
    jump = video_decode._Walk.jump
    monkeypatch.setattr(
        video_decode._Walk, "jump", lambda self, *at: (jumps.append(at[1]), jump(self, *at))[1]
    )
    for wanted in ([2, 30, 49], [45], [16, 17, 24], list(range(0, 50, 7)), [31, 32, 33]):
        assert numbers_at(data, [(n + 0.5) * FRAME_S for n in wanted]) == wanted
    assert len(jumps) >= 5


def test_frames_that_are_neither_seen_nor_referred_to_are_left_undecoded(tmp_path):
    data = write_clip(tmp_path / "a.mp4", 40, g="40", bf="3", sc_threshold="0")
    every = [(n + 0.5) * FRAME_S for n in range(40)]
    with video_decode._open(data, "mp4") as (container, stream):
        decoded = len(list(video_decode._Walk(container, stream, every[::13])._decode()))
    assert decoded < 30
    whole = list(decode_video(data).frames_at(every))
    for step in (1, 3, 7, 13):
        some = list(decode_video(data).frames_at(every[::step]))
        assert all(np.array_equal(a, b) for a, b in zip(some, whole[::step], strict=True))


def test_sound_that_outlasts_the_picture_does_not_stretch_it(tmp_path):
    data = write_clip(tmp_path / "a.mkv", 10, seconds_of_sound=3.0)
    clip = decode_video(data)
    assert clip.duration_s == pytest.approx(1.0, abs=0.02)
    assert numbers_at(data, [0.95]) == [9]


def test_a_rotated_clip_is_turned_upright(tmp_path):
    """The display matrix of the track header is set to a quarter turn clockwise."""
    data = bytearray(write_clip(tmp_path / "a.mp4", 3))
    plain = next(decode_video(bytes(data)).frames_at([0.05]))
    at = data.index(b"tkhd") + 44
    one = 0x10000
    matrix = [0, one, 0, -one, 0, 0, 48 * one, 0, 0x40000000]
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    turned = next(decode_video(bytes(data)).frames_at([0.05]))
    assert turned.shape == (64, 48, 3)
    assert np.array_equal(turned, np.rot90(plain, -1))


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"#EXTM3U\n/etc/passwd", b"ffconcat version 1.0\nfile /etc/passwd\n"]
)
def test_what_is_no_clip_is_refused(data):
    with pytest.raises(DecodeError, match="not an MP4"):
        decode_video(data)


@pytest.mark.parametrize(
    ("name", "codec", "kept"),
    [("a.mp4", "libx264", kept) for kept in (0.01, 0.3, 0.7, 0.99)]
    # What the last hundredth of a WebM holds is its index.
    + [("a.webm", "libvpx-vp9", kept) for kept in (0.01, 0.3, 0.7)],
)
def test_a_truncated_clip_is_refused(tmp_path, name, codec, kept):
    data = write_clip(tmp_path / name, 40, codec)
    with pytest.raises(DecodeError):
        decode_video(data[: int(kept * len(data))])


def test_damaged_frames_are_refused_when_they_are_wanted():
    data = bytearray(mp4_example(np.random.default_rng(0)))
    start = data.index(b"mdat") + 4
    data[start : start + 3000] = bytes(3000)
    with pytest.raises(DecodeError):
        list(decode_video(bytes(data)).frames_at([0.1, 1.0]))


def test_damage_that_takes_a_frame_its_time_is_refused(tmp_path):
    whole, rng, reasons = write_clip(tmp_path / "a.mkv", 12), np.random.default_rng(0), set()
    for place in rng.integers(len(whole) // 3, len(whole), size=300):
        data = bytearray(whole)
        data[place] = rng.integers(256)
        try:
            list(decode_video(bytes(data)).frames_at([0.1, 0.5, 0.9]))
        except DecodeError as error:
            reasons.add(str(error))
    assert "damaged: a frame without a time stamp" in reasons


def test_sound_alone_is_no_clip(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), dtype=np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(DecodeError, match="no video stream"):
        decode_video(path.read_bytes())


@pytest.mark.parametrize(("limit", "value"), [("MAX_BYTES", 100), ("MAX_PIXELS", 100), ("MAX_SECONDS", 0.5)])
def test_limits_hold(monkeypatch, limit, value):
    monkeypatch.setattr(video_decode, limit, value)
    with pytest.raises(DecodeError, match="limit"):
        decode_video(mp4_example(np.random.default_rng(0)))


def test_the_example_is_a_clip_that_its_seed_decides():
    first, again, other = (mp4_example(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first == again != other
    assert av.open(io.BytesIO(first)).streams.video[0].frames == 16
