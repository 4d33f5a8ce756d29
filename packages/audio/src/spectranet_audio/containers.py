"""The sound track of a container (MP3, M4A, MP4, …) by FFmpeg's libraries, which PyAV brings along.

A span is decoded from a little before its start. Where FFmpeg lands after a seek is known by the time
stamp of the first frame, and samples are counted from there; it lands to the sample in MP3, MP4 and
raw AAC, and within a millisecond in Matroska. Lossy decoders that draw noise (AAC's noise
substitution) draw it anew after a seek: the same span is always the same, bit for bit, but where two
spans overlap their noise may differ.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from spectranet import DecodeError
from spectranet_audio.headers import check_mp3_complete, mp3_declares_length, skip_id3
from spectranet_audio.recording import BLOCK, mean_of_channels

__all__ = ["ContainerTrack", "read_container"]

_LEAD_S = 0.5
"""Decoded ahead of a span and thrown away: an MP3 frame may hold bits of the nine before it."""
_SLACK_S = 0.25
"""How much earlier than declared a track may end: encoders' delay and padding. Zeros take the place."""

_DEMUXERS = (
    "mp3,aac,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flac,ogg,mpegts,mpeg,flv,asf,aiff,caf,au,w64,"
    "amr,ac3,eac3,wv,ape,tta,dts"
)
"""What FFmpeg may take a file for: formats that hold their sound. A playlist would open other files."""


@dataclass(frozen=True)
class ContainerTrack:
    data: bytes
    format: str
    rate: int
    frames: int

    def blocks(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """As every track, with zeros where it ends a little before the length that it declares."""
        with _open(self.data, self.format) as (container, stream):
            frames, first = self._frames_from(start, container, stream)
            place = first
            for mono_T in self._mono(frames, stop - first):
                piece_T = mono_T[max(0, start - place) : stop - place]
                place += len(mono_T)
                if piece_T.size:
                    yield piece_T
        if place == first or place + _SLACK_S * self.rate < stop:
            raise DecodeError(f"truncated: {place / self.rate:.2f} of {self.frames / self.rate:.2f} s")
        if place < stop:
            yield np.zeros(stop - max(place, start), dtype=np.float32)

    def _frames_from(self, start: int, container: Any, stream: Any) -> tuple[Iterator[Any], int]:
        """Frames from a little before the sample ``start``, and the sample that the first begins with."""
        lead = max(0, start - round(_LEAD_S * self.rate))
        if lead:
            origin = stream.start_time or 0
            container.seek(round(lead / self.rate / stream.time_base) + origin, stream=stream)
            first = next(container.decode(stream), None)
            if first is not None and first.pts is not None:
                place = round((first.pts - origin) * stream.time_base * self.rate)
                if 0 <= place <= start:
                    return itertools.chain([first], container.decode(stream)), place
            container.seek(origin, stream=stream)  # no index leads there: from the start, then
        return container.decode(stream), 0

    def _mono(self, frames: Iterator[Any], wanted: int) -> Iterator[np.ndarray]:
        """At least so many samples, if there are, in blocks: frames are too small to handle one by one."""
        to_planes = av.AudioResampler(format="fltp")  # sample format only: layout and rate stay
        held = av.AudioFifo()
        first = None
        for frame in frames:
            kind = frame.layout.name, frame.sample_rate, frame.format.name
            first = first or kind
            if kind != first:  # the FIFO would read planes that a frame with fewer channels does not have
                raise DecodeError(f"the sound changes from {_as_text(*first)} to {_as_text(*kind)}")
            for planes in [frame] if frame.format.name == "fltp" else to_planes.resample(frame):
                planes.pts = None  # it would refuse gaps
                wanted -= planes.samples
                held.write(planes)
            if wanted <= 0 or held.samples >= BLOCK:
                yield self._joined(held)
            if wanted <= 0:
                return
        if held.samples:
            yield self._joined(held)

    def _joined(self, held: av.AudioFifo) -> np.ndarray:
        frame = held.read()
        if frame.sample_rate != self.rate:
            raise DecodeError(f"declared at {self.rate} Hz, the sound has {frame.sample_rate} Hz")
        mono_T = mean_of_channels(frame.to_ndarray().T)
        if not np.isfinite(mono_T).all():
            raise DecodeError("samples that are not finite")
        return mono_T


def read_container(data: bytes, max_seconds: float) -> ContainerTrack:
    """Open a container and check it, without decoding its sound.

    Raises:
        DecodeError: unreadable, without an audio stream, cut short, or over the limit.
    """
    kind = _format_of(data)
    if kind == "mp3":
        check_mp3_complete(data)
    with _open(data, kind) as (container, stream):
        rate = stream.codec_context.sample_rate
        if kind == "mp4":
            _check_index(data, stream)
        seconds = _declared_seconds(data, container, stream)
        if seconds is None:
            seconds = _packets_seconds(container, stream, max_seconds)
    return ContainerTrack(data, kind, rate, round(seconds * rate))


def _as_text(layout: str, rate: int, sample_format: str) -> str:
    return f"{layout} at {rate} Hz ({sample_format})"


def _format_of(data: bytes) -> str:
    """The demuxer for what the bytes are; empty where FFmpeg is to find out."""
    if data[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mp4"
    start = skip_id3(data)
    if data[start : start + 1] == b"\xff" and data[start + 1 : start + 2] >= b"\xe0":
        return "mp3" if data[start + 1] & 0x06 else "aac"  # the layer: none in AAC's frames
    return ""


@contextmanager
def _open(data: bytes, kind: str) -> Iterator[tuple[Any, Any]]:
    """Container and audio stream; what FFmpeg finds wrong inside the block becomes a DecodeError."""
    options = {} if kind else {"format_whitelist": _DEMUXERS}
    try:
        with av.open(
            io.BytesIO(data), format=kind or None, options=options, metadata_errors="ignore"
        ) as container:
            if not container.streams.audio:
                raise DecodeError("no audio stream")
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise DecodeError("no decoder for its sound")
            stream.codec_context.thread_count = 1  # many data workers decode at once
            yield container, stream
    except (av.error.FFmpegError, EOFError) as error:
        raise DecodeError(f"not readable as sound: {getattr(error, 'strerror', error)}") from error


def _check_index(data: bytes, stream: Any) -> None:
    entries = stream.index_entries
    if len(entries):
        last = entries[-1]
        missing = last.pos + last.size - len(data)
        if missing > 0:
            raise DecodeError(f"truncated: {missing} bytes are missing")


def _declared_seconds(data: bytes, container: Any, stream: Any) -> float | None:
    """What the header says; None where FFmpeg would only guess from the file's size."""
    if container.format.name in ("aac", "ac3", "eac3", "amr", "dts"):
        return None
    if container.format.name == "mp3" and not mp3_declares_length(data):
        return None
    return float(stream.duration * stream.time_base) if stream.duration else None


def _packets_seconds(container: Any, stream: Any, max_seconds: float) -> float:
    """Length by counting packets, which decodes nothing."""
    start_s = float((stream.start_time or 0) * stream.time_base)
    end_s = start_s
    for packet in container.demux(stream):
        if packet.pts is not None:
            end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if end_s - start_s > max_seconds:
            raise DecodeError(f"more than the limit of {max_seconds} s")
    return end_s - start_s
