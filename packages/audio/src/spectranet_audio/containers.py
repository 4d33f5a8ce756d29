"""The sound track of a container (MP3, M4A, MP4, …) by FFmpeg's libraries.

Shape suffixes: T samples in time, C channels.
"""

from __future__ import annotations

import io

import av
import av.container
import numpy as np

from spectranet import DecodeError

__all__ = ["decode_container"]

_SLACK_SECONDS = 0.15
_SLACK_SHARE = 0.02
"""How much shorter than declared a track may come out: encoders' delay and padding."""


def decode_container(data: bytes, max_seconds: float) -> tuple[np.ndarray, int]:
    """The first audio stream as float32 (C, T), and its sample rate.

    Raises:
        DecodeError: unreadable, without an audio stream, shorter than declared, or over the limit.
    """
    try:
        with av.open(io.BytesIO(data), metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise DecodeError("no audio stream")
            declared_s = _declared_seconds(data, container)
            if declared_s is not None and declared_s > max_seconds:
                raise DecodeError(f"{declared_s:.1f} s are over the limit of {max_seconds} s")
            sound_CT, rate = _decode_stream(container, max_seconds)
    except av.error.FFmpegError as error:
        raise DecodeError(f"not readable as sound: {error.strerror}") from error
    decoded_s = sound_CT.shape[1] / rate
    if declared_s is not None and decoded_s * (1 + _SLACK_SHARE) + _SLACK_SECONDS < declared_s:
        raise DecodeError(f"truncated: {decoded_s:.2f} of {declared_s:.2f} s")
    return sound_CT, rate


def _declared_seconds(data: bytes, container: av.container.InputContainer) -> float | None:
    """What the header says; None where FFmpeg would only guess from the file's size."""
    stream = container.streams.audio[0]
    if container.format.name in ("mp3", "aac", "ac3", "eac3", "amr"):
        head = data[: 64 * 2**10]
        if not any(mark in head for mark in (b"Xing", b"Info", b"VBRI")):
            return None
    if stream.duration is None or stream.time_base is None:
        return None
    return float(stream.duration * stream.time_base)


def _decode_stream(container: av.container.InputContainer, max_seconds: float) -> tuple[np.ndarray, int]:
    """Decode until the end, or stop at the limit: a header may say less than there is."""
    stream = container.streams.audio[0]
    stream.codec_context.thread_count = 1  # many data workers decode at once
    to_planes = av.AudioResampler(format="fltp")  # sample format only: layout and rate stay
    parts: list[np.ndarray] = []
    samples, rate = 0, 0
    for frame in container.decode(stream):
        for planes in to_planes.resample(frame):
            parts.append(planes.to_ndarray())
            samples, rate = samples + planes.samples, planes.sample_rate
        if samples > max_seconds * max(rate, 1):
            raise DecodeError(f"more than the limit of {max_seconds} s")
    if not parts:
        raise DecodeError("no sound: zero samples")
    return np.concatenate(parts, axis=1), rate
