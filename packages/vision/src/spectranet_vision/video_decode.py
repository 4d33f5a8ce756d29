"""How does a clip become RGB frames, and which bytes are refused?

Opening a clip reads its container only; frames are decoded when the transform has chosen them, from
the key frame before the first to the last one needed, jumping over stretches where none is.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from spectranet import DecodeError

__all__ = ["MAX_BYTES", "MAX_PIXELS", "MAX_SECONDS", "Clip", "decode_video"]

MAX_BYTES = 1 << 30
MAX_PIXELS = 1 << 24
"""Per frame: 16.8 million, twice 4K."""
MAX_SECONDS = 3600.0

_LATE_FRAMES = 1.5
"""How many frame durations before the moment asked for the last frame of all may start."""
_REORDER_FRAMES = 4
"""An index gives decoding times; a key frame is shown up to about so many frames later."""
_CUT_SHORT_S = 0.5
"""How much earlier than the container says its packets may end."""


@dataclass(frozen=True)
class Clip:
    """A checked clip, not yet decoded: the bytes, and what its container says.

    Times are in seconds from the first frame. ``key_frames_s`` are decoding times, and none where
    the container has no index.
    """

    data: bytes
    format: str
    width: int
    height: int
    duration_s: float
    frame_s: float
    key_frames_s: tuple[float, ...]

    def frames_at(self, moments_s: Sequence[float]) -> Iterator[np.ndarray]:
        """The uint8 (H, W, 3) frames shown at ascending moments, decoded as they are asked for.

        Raises:
            DecodeError: the stream is damaged, ends before the last moment, or changes its size.
        """
        first_shape = None
        with _open(self.data, self.format) as (container, stream):
            shown_s = [moment_s + self.frame_s / 4 for moment_s in moments_s]
            walk = _Walk(container, stream, shown_s)
            for moment_s, show_s in zip(moments_s, shown_s, strict=True):
                safe_s = moment_s - _REORDER_FRAMES * self.frame_s
                if self._key_frame_before(safe_s) > walk.time_s + self.frame_s:
                    walk.jump(safe_s, moment_s)
                frame_HWC = walk.show(show_s, _LATE_FRAMES * self.frame_s)
                first_shape = first_shape or frame_HWC.shape
                if frame_HWC.shape != first_shape:
                    raise DecodeError(f"{self.format}: frames change from {first_shape} to {frame_HWC.shape}")
                yield frame_HWC

    def _key_frame_before(self, moment_s: float) -> float:
        index = bisect_right(self.key_frames_s, moment_s)
        return self.key_frames_s[index - 1] if index else 0.0


def decode_video(data: bytes) -> Clip:
    """Open a clip in MP4, MOV, WebM, Matroska or AVI and check it, without decoding frames.

    Raises:
        DecodeError: not one of these formats, no video stream, cut short, or over a limit.
    """
    if len(data) > MAX_BYTES:
        raise DecodeError(f"{len(data)} bytes exceed the limit of {MAX_BYTES}")
    kind = _format_of(data)
    with _open(data, kind) as (container, stream):
        return _inspect(data, kind, container, stream)


class _Walk:
    """A place in a video stream: the frame that is shown, and the one that follows it.

    Frames that no other refers to and that are shown at none of ``moments_s`` (ascending) are left
    out, where a codec has such frames.
    """

    def __init__(self, container: Any, stream: Any, moments_s: Sequence[float]) -> None:
        self._container = container
        self._stream = stream
        self._moments_s = moments_s
        self._start_s = _start_s(stream)
        self._to_rgb = _ToRgb()
        self._frames = self._decode()
        self._shown: Any = None
        self._following: Any = None
        self._image: np.ndarray | None = None

    @property
    def time_s(self) -> float:
        """When the frame that follows starts."""
        return self._time_of(self._following) if self._following is not None else 0.0

    def jump(self, target_s: float, moment_s: float) -> None:
        """Go on from the key frame before ``target_s``; from the start, if that is past the moment."""
        for place_s in (target_s, 0.0):
            self._container.seek(
                round((place_s + self._start_s) / self._stream.time_base), stream=self._stream
            )
            self._frames = self._decode()
            self._shown, self._following = None, next(self._frames, None)
            if self._following is not None and self.time_s <= moment_s:
                return

    def show(self, moment_s: float, late_s: float) -> np.ndarray:
        """The last frame that starts at or before the moment; the first of all, if none does.

        Raises:
            DecodeError: the stream ends more than ``late_s`` before the moment.
        """
        ended = False
        while not ended and (self._following is None or self.time_s <= moment_s):
            if self._following is not None:
                self._shown, self._image = self._following, None
            self._following = next(self._frames, None)
            ended = self._following is None
        if self._shown is None:
            self._shown, self._image = self._following, None
        if self._shown is None:
            raise DecodeError(f"no frame can be decoded at {moment_s:.2f} s")
        if ended and moment_s - self._time_of(self._shown) > late_s:
            raise DecodeError(f"frames end at {self._time_of(self._shown):.2f} s, before {moment_s:.2f} s")
        if self._image is None:
            self._image = self._to_rgb(self._shown)
        return self._image

    def _decode(self) -> Iterator[Any]:
        context = self._stream.codec_context
        for group in _groups(self._container.demux(self._stream)):
            wanted = self._wanted(group)
            for packet in group:
                is_wanted = packet.pts is None or packet.pts in wanted
                context.skip_frame = "DEFAULT" if is_wanted else "NONREF"
                yield from packet.decode()

    def _wanted(self, group: Sequence[Any]) -> set[int]:
        """Time stamps of the frames of a group that may be shown at one of the moments.

        For each moment the last one that starts by then: of a moment outside the group one too many.
        """
        stamps = sorted(packet.pts for packet in group if packet.pts is not None)
        times_s = [float(stamp * self._stream.time_base) - self._start_s for stamp in stamps]
        places = {max(bisect_right(times_s, moment_s) - 1, 0) for moment_s in self._moments_s}
        return {stamps[place] for place in places if stamps}

    def _time_of(self, frame: Any) -> float:
        if frame.time is None:  # a damaged Matroska may have such, where H.264 hides what is lost
            raise DecodeError("damaged: a frame without a time stamp")
        return float(frame.time) - self._start_s


def _groups(packets: Iterator[Any]) -> Iterator[list[Any]]:
    """Packets from a key frame to the last before the next; what ends the stream is in the last group."""
    group: list[Any] = []
    for packet in packets:
        if packet.is_keyframe and group:
            yield group
            group = []
        group.append(packet)
    yield group


def _format_of(data: bytes) -> str:
    """The demuxer for these bytes, by content.

    Named to FFmpeg instead of letting it probe: a playlist it recognises by itself may open other
    files and addresses.
    """
    if data[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mp4"
    if data.startswith(b"\x1aE\xdf\xa3"):
        return "matroska"
    if data.startswith(b"RIFF") and data[8:12] == b"AVI ":
        return "avi"
    start = data[:8].hex(" ") or "no bytes"
    raise DecodeError(f"not an MP4, MOV, WebM, Matroska or AVI (starts with {start})")


@contextmanager
def _open(data: bytes, kind: str) -> Iterator[tuple[Any, Any]]:
    """Container and video stream; what FFmpeg finds wrong inside the block becomes a DecodeError."""
    try:
        # Titles and the like may be in any encoding, and nobody asks for them here.
        with av.open(io.BytesIO(data), format=kind, metadata_errors="ignore") as container:
            if not container.streams.video:
                raise DecodeError(f"{kind}: no video stream")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise DecodeError(f"{kind}: no decoder for its video")
            # Loading is parallel over samples already.
            stream.codec_context.thread_count = 1
            yield container, stream
    except (av.error.FFmpegError, EOFError) as error:
        # FFmpeg's numbers and its name for bytes without a file would tell nobody anything.
        reason = getattr(error, "strerror", None) or error
        raise DecodeError(f"{kind}, damaged or cut short: {reason}") from error


def _inspect(data: bytes, kind: str, container: Any, stream: Any) -> Clip:
    width, height = stream.codec_context.width, stream.codec_context.height
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise DecodeError(f"{kind}: frames of {width}x{height} pixels; the limit is {MAX_PIXELS} pixels")
    entries = list(stream.index_entries)
    missing = max((entry.pos + entry.size for entry in entries), default=0) - len(data)
    if missing > 0 and kind == "mp4":
        raise DecodeError(f"{kind}: cut short by {missing} bytes")
    start_s = _start_s(stream)
    frame_s = 1 / float(stream.average_rate or stream.base_rate or 25)
    if kind == "mp4" and stream.duration:
        duration_s = float(stream.duration * stream.time_base)
    else:
        duration_s = _measure(container, stream, frame_s)
    if not 0 < duration_s <= MAX_SECONDS:
        raise DecodeError(f"{kind}: {duration_s:.1f} s long; the limit is {MAX_SECONDS:.0f} s")
    keys = (float(entry.timestamp * stream.time_base) - start_s for entry in entries if entry.is_keyframe)
    return Clip(data, kind, width, height, duration_s, frame_s, tuple(sorted(keys)))


def _start_s(stream: Any) -> float:
    return float((stream.start_time or 0) * stream.time_base)


def _measure(container: Any, stream: Any, frame_s: float) -> float:
    """Length of the video by its packets: other containers give one length for sound and picture.

    Raises:
        DecodeError: the packets end before the length that the container gives.
    """
    end_s = video_end_s = _start_s(stream)
    for packet in container.demux():
        if packet.pts is not None:
            end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream == stream:
                video_end_s = max(video_end_s, float(packet.pts * packet.time_base) + frame_s)
    if container.duration:
        said_s = (container.duration + (container.start_time or 0)) / av.time_base
        if said_s - end_s > _CUT_SHORT_S:
            raise DecodeError(f"cut short: packets end at {end_s:.2f} s of {said_s:.2f} s")
    return video_end_s - _start_s(stream)


class _ToRgb:
    """Frames as uint8 (H, W, 3), turned as the container's display matrix says.

    One converter for all frames of a clip, on one thread: PyAV would make tables and threads for every
    frame anew, which takes longer than to convert one of 320 by 180 pixels.
    """

    def __init__(self) -> None:
        self._converter = VideoReformatter()

    def __call__(self, frame: Any) -> np.ndarray:
        # A multiple of 90 degrees, counterclockwise in both conventions.
        quarters = round(frame.rotation / 90)
        pixels_HWC = self._converter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        return np.rot90(pixels_HWC, quarters)
