"""From the bytes of a sound file to mono 16 kHz, whatever the file's name says.

WAV, FLAC and Ogg go through libsndfile; everything else (MP3, M4A, the sound track of an MP4)
through FFmpeg's libraries, which PyAV brings along. Headers are checked before anything is decoded.

Shape suffixes: T samples in time, C channels.
"""

from __future__ import annotations

import io

import numpy as np
import soundfile
import soxr

from spectranet import DecodeError
from spectranet_audio.containers import decode_container
from spectranet_audio.frames import SAMPLE_RATE
from spectranet_audio.headers import check_ogg_complete, check_wav_complete, is_wav

__all__ = ["MAX_BYTES", "MAX_SECONDS", "decode"]

MAX_BYTES = 256 * 2**20
MAX_SECONDS = 600.0
_RATES = range(1_000, 768_001)
_UNKNOWN_FRAMES = 2**62
"""libsndfile reports more than this where a FLAC stream does not say how long it is."""


def decode(data: bytes, *, max_bytes: int = MAX_BYTES, max_seconds: float = MAX_SECONDS) -> np.ndarray:
    """Float32 (T,) at 16 kHz, the mean of all channels; full scale is 1.

    Resampling is soxr's HQ. The mean is taken here, since decoders asked for mono weigh the channels.

    Raises:
        DecodeError: empty, truncated or broken, without sound, or over a limit.
    """
    if not data:
        raise DecodeError("empty file")
    if len(data) > max_bytes:
        raise DecodeError(f"{len(data)} bytes are over the limit of {max_bytes}")
    sound_CT, rate = _decode_any(data, max_seconds)
    if rate not in _RATES:
        raise DecodeError(f"a sample rate of {rate} Hz is outside {_RATES.start} to {_RATES.stop - 1}")
    mono_T = sound_CT.mean(axis=0, dtype=np.float32)
    if mono_T.size == 0:
        raise DecodeError("no sound: zero samples")
    if not np.isfinite(mono_T).all():
        raise DecodeError("samples that are not finite")
    if rate != SAMPLE_RATE:
        mono_T = soxr.resample(mono_T, rate, SAMPLE_RATE, quality="HQ")
    return np.ascontiguousarray(mono_T, dtype=np.float32)


def _decode_any(data: bytes, max_seconds: float) -> tuple[np.ndarray, int]:
    """(C, T) float32 and its sample rate, by what the bytes are and not by a name."""
    if is_wav(data):
        check_wav_complete(data)
    elif data[:4] == b"OggS":
        check_ogg_complete(data)
    elif data[:4] != b"fLaC":
        return decode_container(data, max_seconds)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.frames > _UNKNOWN_FRAMES:
                return decode_container(data, max_seconds)
            if file.frames > max_seconds * file.samplerate:
                seconds = file.frames / file.samplerate
                raise DecodeError(f"{seconds:.1f} s are over the limit of {max_seconds} s")
            sound_TC = file.read(dtype="float32", always_2d=True)
            declared, rate = file.frames, file.samplerate
    except soundfile.SoundFileError as error:
        raise DecodeError(f"not readable as sound: {error}") from error
    if len(sound_TC) < declared:
        raise DecodeError(f"truncated: {len(sound_TC)} of {declared} samples")
    return sound_TC.T, rate
