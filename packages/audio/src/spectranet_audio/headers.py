"""What the headers of WAV and Ogg files declare, so that half a file is not taken for a short one.

libsndfile decodes a truncated WAV or Ogg without an error and merely returns less sound.
Sources: Microsoft "Multimedia Programming Interface 1.0" (RIFF); EBU Tech 3306 (RF64); RFC 3533 (Ogg).
"""

from __future__ import annotations

import struct

from spectranet import DecodeError

__all__ = ["check_ogg_complete", "check_wav_complete", "is_wav"]

_UNKNOWN_SIZE = 0x7FFFF000
"""Writers to a pipe cannot go back to fill in the length and leave this (sox) or more (ffmpeg)."""
_OGG_HEADER_BYTES = 27
_OGG_LAST_PAGE = 4


def is_wav(data: bytes) -> bool:
    return data[:4] in (b"RIFF", b"RIFX", b"RF64") and data[8:12] == b"WAVE"


def check_wav_complete(data: bytes) -> None:
    """Raise ``DecodeError`` where a WAV has fewer bytes of sound than its header declares."""
    order = ">" if data[:4] == b"RIFX" else "<"
    long_size: int | None = None
    position = 12
    while position + 8 <= len(data):
        name, size = struct.unpack_from(f"{order}4sI", data, position)
        start = position + 8
        if name == b"ds64" and start + 16 <= len(data):
            long_size = struct.unpack_from(f"{order}Q", data, start + 8)[0]
        if name == b"data":
            declared = long_size if long_size is not None and size == 0xFFFFFFFF else size
            unknown = long_size is None and size >= _UNKNOWN_SIZE
            present = len(data) - start
            if not unknown and present < declared:
                raise DecodeError(f"truncated WAV: {present} of {declared} bytes of sound")
            return
        position = start + size + size % 2
    raise DecodeError("truncated WAV: its sound is missing")


def check_ogg_complete(data: bytes) -> None:
    """Raise ``DecodeError`` where an Ogg file breaks off inside a page or before its last page."""
    position, flags = 0, 0
    while data[position : position + 4] == b"OggS":
        table = position + _OGG_HEADER_BYTES
        segments = data[table : table + data[table - 1]] if table <= len(data) else b""
        end = table + len(segments) + sum(segments)
        if table > len(data) or len(segments) < data[table - 1] or end > len(data):
            raise DecodeError("truncated Ogg: it ends inside a page")
        flags = data[position + 5]
        position = end
    if not flags & _OGG_LAST_PAGE:
        raise DecodeError("truncated Ogg: its last page is missing")
