"""FLAC, Ogg and the rarer codings of WAV, by libsndfile, which seeks to any sample."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soundfile

from spectranet import DecodeError
from spectranet_audio.recording import BLOCK, mean_of_channels

__all__ = ["SndfileTrack", "read_sndfile"]

_UNKNOWN_FRAMES = 2**62
"""libsndfile reports more than this where a FLAC stream does not say how long it is."""


@dataclass(frozen=True)
class SndfileTrack:
    """Opened anew for every span, so that a span never depends on what was read before it."""

    data: bytes
    rate: int
    frames: int

    def blocks(self, start: int, stop: int) -> Iterator[np.ndarray]:
        try:
            with soundfile.SoundFile(io.BytesIO(self.data)) as file:
                if start:
                    file.seek(start)
                for place in range(start, stop, BLOCK):
                    wanted = min(stop, place + BLOCK) - place
                    sound_TC = file.read(wanted, dtype="float32", always_2d=True)
                    if len(sound_TC) < wanted:
                        raise DecodeError(f"truncated: {place + len(sound_TC)} of {self.frames} samples")
                    mono_T = mean_of_channels(sound_TC)
                    if not np.isfinite(mono_T).all():
                        raise DecodeError("samples that are not finite")
                    yield mono_T
        except soundfile.SoundFileError as error:
            raise DecodeError(f"not readable as sound: {error}") from error


def read_sndfile(data: bytes) -> SndfileTrack | None:
    """Read the header; None where it does not tell the length.

    Raises:
        DecodeError: libsndfile cannot read it.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.frames > _UNKNOWN_FRAMES:
                return None
            return SndfileTrack(data, file.samplerate, file.frames)
    except soundfile.SoundFileError as error:
        raise DecodeError(f"not readable as sound: {error}") from error
