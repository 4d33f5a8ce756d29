"""Where are the samples of a WAV, and what do they mean?

Uncompressed samples are read from the bytes directly: for a spoken word libsndfile's way to read from
memory takes longer than everything else about decoding. It reads the other codings.

Sources: Microsoft "Multimedia Programming Interface 1.0" and "Multiple Channel Audio Data and WAVE
Files" (RIFF), EBU Tech 3306 (RF64).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spectranet import DecodeError
from spectranet_audio.recording import BLOCK, mean_of_channels

__all__ = ["WavTrack", "is_wav", "read_wav"]

_UNKNOWN_SIZE = 0x7FFFF000
"""Writers to a pipe cannot go back to fill in the length and leave this (sox) or more (ffmpeg)."""
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_CODINGS = {
    (_PCM, 8): "u1",
    (_PCM, 16): "<i2",
    (_PCM, 24): "i3",
    (_PCM, 32): "<i4",
    (_FLOAT, 32): "<f4",
    (_FLOAT, 64): "<f8",
}


def is_wav(data: bytes) -> bool:
    return data[:4] in (b"RIFF", b"RIFX", b"RF64") and data[8:12] == b"WAVE"


@dataclass(frozen=True)
class WavTrack:
    """Uncompressed samples: ``frames`` times ``channels`` of ``coding``, from ``offset`` on."""

    data: bytes
    rate: int
    frames: int
    channels: int
    coding: str
    offset: int

    def blocks(self, start: int, stop: int) -> Iterator[np.ndarray]:
        for place in range(start, stop, BLOCK):
            yield self._read(place, min(stop, place + BLOCK) - place)

    def _read(self, start: int, frames: int) -> np.ndarray:
        width, channels = int(self.coding[-1]), self.channels
        offset, count = self.offset + start * width * channels, frames * channels
        if self.coding == "i3":
            bytes_NW = np.frombuffer(self.data, np.uint8, 3 * count, offset).reshape(count, 3)
            wide_NW = np.zeros((count, 4), np.uint8)
            wide_NW[:, 1:] = bytes_NW
            sound_N = wide_NW.view("<i4")[:, 0] * np.float32(2.0**-31)
        else:
            raw_N = np.frombuffer(self.data, self.coding, count, offset)
            sound_N = _full_scale(raw_N, self.coding)
        return mean_of_channels(sound_N.reshape(frames, channels))


def read_wav(data: bytes) -> WavTrack | None:
    """Find the samples; None where they are compressed or big-endian.

    Raises:
        DecodeError: there are fewer bytes of sound than the header declares, or none at all.
    """
    order = ">" if data[:4] == b"RIFX" else "<"
    long_size: int | None = None
    coding: tuple[int, ...] | None = None
    position = 12
    while position + 8 <= len(data):
        name, size = struct.unpack_from(f"{order}4sI", data, position)
        start = position + 8
        if name == b"ds64" and start + 16 <= len(data):
            long_size = struct.unpack_from(f"{order}Q", data, start + 8)[0]
        if name == b"fmt " and size >= 16 and start + size <= len(data):
            coding = struct.unpack_from(f"{order}HHIIHH", data, start)
            if coding[0] == _EXTENSIBLE and size >= 26:  # the first bytes of its GUID are the coding
                coding = (struct.unpack_from(f"{order}H", data, start + 24)[0], *coding[1:])
        if name == b"data":
            declared = long_size if long_size is not None and size == 0xFFFFFFFF else size
            present = len(data) - start
            if long_size is None and size >= _UNKNOWN_SIZE:
                declared = present
            if present < declared:
                raise DecodeError(f"truncated WAV: {present} of {declared} bytes of sound")
            return None if order == ">" or coding is None else _track(data, start, declared, coding)
        position = start + size + size % 2
    raise DecodeError("truncated WAV: its sound is missing")


def _track(data: bytes, start: int, size: int, fmt: tuple[int, ...]) -> WavTrack | None:
    tag, channels, rate, _, bytes_per_frame, bits = fmt
    coding = _CODINGS.get((tag, bits))
    if coding is None or channels == 0 or bytes_per_frame != channels * bits // 8:
        return None
    return WavTrack(data, rate, size // bytes_per_frame, channels, coding, start)


def _full_scale(raw_N: np.ndarray, coding: str) -> np.ndarray:
    """Float32 in -1 to 1, as libsndfile scales it."""
    if coding == "u1":
        return (raw_N.astype(np.float32) - np.float32(128)) * np.float32(2.0**-7)
    if coding == "<i2":
        return raw_N * np.float32(2.0**-15)
    if coding == "<i4":
        return raw_N.astype(np.float32) * np.float32(2.0**-31)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        sound_N = raw_N.astype(np.float32)
    if not np.isfinite(sound_N).all():
        raise DecodeError("samples that are not finite")
    return sound_N
