"""From the bytes of a sound file to a recording that can be read at 16 kHz, whatever the file's name says.

Headers are checked here; nothing is decoded before a span of the recording is asked for.
"""

from __future__ import annotations

from spectranet import DecodeError
from spectranet_audio.containers import read_container
from spectranet_audio.headers import check_ogg_complete
from spectranet_audio.recording import Recording, Track
from spectranet_audio.sndfile import read_sndfile
from spectranet_audio.wav import is_wav, read_wav

__all__ = ["MAX_BYTES", "MAX_SECONDS", "decode"]

MAX_BYTES = 1 << 30
MAX_SECONDS = 86_400.0
"""A day: a span at the end of an MP3 of that length is found in about 3 s, elsewhere sooner."""
_RATES = range(1_000, 768_001)


def decode(data: bytes, *, max_bytes: int = MAX_BYTES, max_seconds: float = MAX_SECONDS) -> Recording:
    """Open a sound file and check what its headers tell.

    Damage that headers do not show is found when a span that has it is read: samples that are not
    finite, broken frames, and the missing end of a FLAC or of a stream without a length.

    Raises:
        DecodeError: empty, truncated or broken, without sound, or over a limit.
    """
    if not data:
        raise DecodeError("empty file")
    if len(data) > max_bytes:
        raise DecodeError(f"{len(data)} bytes are over the limit of {max_bytes}")
    track = _track(data, max_seconds)
    if track.rate not in _RATES:
        raise DecodeError(f"a sample rate of {track.rate} Hz is outside {_RATES.start} to {_RATES.stop - 1}")
    if track.frames > max_seconds * track.rate:
        raise DecodeError(f"{track.frames / track.rate:.1f} s are over the limit of {max_seconds} s")
    recording = Recording(track)
    if not len(recording):
        raise DecodeError("no sound: zero samples")
    return recording


def _track(data: bytes, max_seconds: float) -> Track:
    """By what the bytes are and not by a name."""
    track: Track | None = None
    if is_wav(data):
        track = read_wav(data) or read_sndfile(data)
    elif data[:4] in (b"OggS", b"fLaC"):
        if data[:4] == b"OggS":
            check_ogg_complete(data)
        track = read_sndfile(data)
    return track or read_container(data, max_seconds)
