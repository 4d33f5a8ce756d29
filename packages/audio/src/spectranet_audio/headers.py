"""What the headers of Ogg and MP3 files declare, so that half a file is not taken for a short one.

libsndfile decodes a truncated Ogg without an error and merely returns less sound.
Sources: RFC 3533 (Ogg); id3.org, "ID3 tag version 2.4.0"; Gabriel Bouvigne, "Mp3 Info Tag".
"""

from __future__ import annotations

import struct

from spectranet import DecodeError

__all__ = ["check_mp3_complete", "check_ogg_complete", "mp3_declares_length", "skip_id3"]

_OGG_HEADER_BYTES = 27
_OGG_LAST_PAGE = 4

_MP3_SEARCHED = 4096
"""Bytes from the end of the tags in which the first frame and its info tag are looked for."""
_MP3_SLACK = 2048
"""Bytes that may be missing: taggers that strip the end of a file take up to a frame with it."""
_MP3_HAS_FRAMES, _MP3_HAS_BYTES = 1, 2


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


def skip_id3(data: bytes) -> int:
    """Where the sound of an MP3 or raw AAC file starts: behind its ID3v2 tags, if it has any."""
    start = 0
    while data[start : start + 3] == b"ID3" and start + 10 <= len(data):
        one, two, three, four = (byte & 127 for byte in data[start + 6 : start + 10])
        footer = 10 if data[start + 5] & 0x10 else 0
        start += 10 + (one << 21 | two << 14 | three << 7 | four) + footer
    return start


def mp3_declares_length(data: bytes) -> bool:
    """Whether an info tag says how many frames there are; else FFmpeg guesses from the file's size."""
    start = skip_id3(data)
    head = data[start : start + _MP3_SEARCHED]
    place = _info_tag(head)
    return b"VBRI" in head or (place >= 0 and bool(head[place + 7] & _MP3_HAS_FRAMES))


def check_mp3_complete(data: bytes) -> None:
    """Raise ``DecodeError`` where an MP3 has fewer bytes than its info tag declares, if it has one."""
    start = skip_id3(data)
    head = data[start : start + _MP3_SEARCHED]
    place = _info_tag(head)
    if place < 0 or not head[place + 7] & _MP3_HAS_BYTES:
        return
    size_at = place + 8 + (4 if head[place + 7] & _MP3_HAS_FRAMES else 0)
    if size_at + 4 > len(head):
        raise DecodeError("truncated MP3: it ends inside its first frame")
    declared = struct.unpack_from(">I", head, size_at)[0]
    present = len(data) - start
    if present + _MP3_SLACK < declared:
        raise DecodeError(f"truncated MP3: {present} of {declared} bytes of sound")


def _info_tag(head: bytes) -> int:
    """Where ``Xing`` or ``Info`` stands with its flags behind it; -1 where it does not."""
    places = [place for place in (head.find(b"Xing"), head.find(b"Info")) if place >= 0]
    return min((place for place in places if place + 8 <= len(head)), default=-1)
