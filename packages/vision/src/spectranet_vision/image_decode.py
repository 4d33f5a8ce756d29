"""How do the bytes of a picture become RGB pixels, and which bytes are refused?

The format is told by content, never by name. Sizes are read from the header before anything is
decoded. Transparency is laid on white, EXIF orientation is applied, colour profiles are ignored.
"""

from __future__ import annotations

import io
import re
import struct
import zlib

import numpy as np
import simplejpeg
from PIL import Image

from spectranet import DecodeError

__all__ = ["MAX_BYTES", "MAX_PIXELS", "decode_image", "header_size"]

MAX_PIXELS = 1 << 26
"""67 million: a 17 KB PNG can expand to twice that, and no training image needs a tenth of it."""
MAX_BYTES = 1 << 26

_JPEG_PIXELS_PER_BYTE = 1024
"""Twice what Huffman codes of one bit a block of 64 pixels can hold; else a damaged size in the
header costs the time of up to ``MAX_PIXELS``."""

_HARMLESS = (
    "unknown JFIF revision number",
    "Unknown Adobe color transform code",
    "bad ICC marker",
    "Invalid SOS parameters for sequential JPEG",
)
"""Warnings of libjpeg that concern no pixel, in the words of its jerror.h (JWRN_JFIF_MAJOR, _ADOBE_XFORM,
_BOGUS_ICC, _NOT_SEQUENTIAL). Of its others JWRN_EXTRANEOUS_DATA is looked at, and all the rest tell of
lost picture data: it ends too early, or the codes make no sense."""
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0x(?!d[0-7])(..)")
"""Not before a marker of a restart, RST0 to RST7: there the decoder has lost its place."""
_FEW_EXTRANEOUS = 16
"""Bytes that are some encoder's slip. Of 1000 JPEGs with one byte damaged in their pixels 272 left over 19
to 206 bytes, half of them more than 41."""

_JPEG_MAGIC = b"\xff\xd8\xff"
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_ORIENTATION = 0x0112
_EXIF_MARK = b"Exif\x00\x00"
_SEARCHED = 1 << 16
_END_OF_IMAGE = b"\xff\xd9"
_PIL_FORMATS = ("JPEG", "PNG", "WEBP")
_PIL_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What PIL raises on damaged files. Anything else is a fault of ours and must not pass for one."""


def decode_image(data: bytes) -> np.ndarray:
    """uint8 (H, W, 3) RGB of a JPEG, PNG or WebP.

    Raises:
        DecodeError: not one of these formats, damaged, cut short, or over a limit.
    """
    if len(data) > MAX_BYTES:
        raise DecodeError(f"{len(data)} bytes exceed the limit of {MAX_BYTES}")
    width, height, kind = header_size(data)
    if width < 1 or height < 1:
        raise DecodeError(f"{kind} of {width}x{height} pixels")
    if width * height > MAX_PIXELS:
        raise DecodeError(f"{kind} of {width}x{height} pixels exceeds the limit of {MAX_PIXELS} pixels")
    if kind == "JPEG" and width * height > _JPEG_PIXELS_PER_BYTE * len(data):
        raise DecodeError(f"JPEG of {width}x{height} pixels in {len(data)} bytes is damaged or cut short")
    return _decode_jpeg(data) if kind == "JPEG" else _decode_with_pil(data, kind)


def header_size(data: bytes) -> tuple[int, int, str]:
    """Width, height and format from the first bytes alone.

    Raises:
        DecodeError: the bytes start like none of the formats, or the header is cut short.
    """
    if data.startswith(_JPEG_MAGIC):
        return *_jpeg_size(data), "JPEG"
    if data.startswith(_PNG_MAGIC) and len(data) >= 24:
        return *struct.unpack(">II", data[16:24]), "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP" and len(data) >= 30:
        return *_webp_size(data), "WebP"
    start = data[:8].hex(" ") or "no bytes"
    raise DecodeError(f"not a JPEG, PNG or WebP (starts with {start})")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        return width, height
    except ValueError as error:
        if not _is_harmless(str(error), data):
            raise DecodeError(f"JPEG: {error}") from error
    try:
        with Image.open(io.BytesIO(data), formats=_PIL_FORMATS) as picture:
            return picture.size
    except _PIL_ERRORS as error:
        raise DecodeError(f"JPEG: {error}") from error


def _webp_size(data: bytes) -> tuple[int, int]:
    """Canvas of a WebP from its first chunk (RFC 9649, sections 2.5 to 2.7)."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    raise DecodeError(f"WebP that starts with chunk {chunk!r}")


def _decode_jpeg(data: bytes) -> np.ndarray:
    try:
        _, _, colours, _ = simplejpeg.decode_jpeg_header(data)
        is_ink = colours in ("CMYK", "YCCK")
        pixels_HWC: np.ndarray | None = None if is_ink else simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError as error:
        if not _is_harmless(str(error), data):
            raise DecodeError(f"JPEG: {error}") from error
        pixels_HWC = None
    if pixels_HWC is None:
        # PIL knows Adobe's inverted inks, which libjpeg-turbo leaves to its caller. And it refuses what is
        # cut short behind something harmless: libjpeg tells its first warning alone.
        return _decode_with_pil(data, "JPEG")
    # The segment of EXIF is the first or follows that of JFIF (CIPA DC-008, section 4.5.4).
    if data.find(_EXIF_MARK, 0, _SEARCHED) < 0:
        return pixels_HWC
    try:
        with Image.open(io.BytesIO(data), formats=_PIL_FORMATS) as picture:
            orientation = picture.getexif().get(_ORIENTATION, 1)
    except _PIL_ERRORS as error:
        raise DecodeError(f"JPEG: {error}") from error
    return _turn_upright(pixels_HWC, orientation)


def _is_harmless(warning: str, data: bytes) -> bool:
    """Whether all of the picture is there, whatever libjpeg complains of."""
    if found := _EXTRANEOUS.search(warning):
        count, end = int(found[1]), data.rfind(_END_OF_IMAGE)
        is_padding = found[2] == "d9" and len(set(data[end - count : end])) == 1
        return count <= _FEW_EXTRANEOUS or is_padding
    return any(harmless in warning for harmless in _HARMLESS)


def _decode_with_pil(data: bytes, kind: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data), formats=_PIL_FORMATS) as picture:
            picture.load()
            orientation = picture.getexif().get(_ORIENTATION, 1)
            return _turn_upright(_to_rgb(picture), orientation)
    except _PIL_ERRORS as error:
        raise DecodeError(f"{kind}: {error}") from error


def _to_rgb(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith("I"):
        # 16-bit grey: the high byte, as PIL itself takes of 16-bit colour; its own conversion of
        # this mode clips at 255 and would turn nearly everything white.
        grey_HW = (np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey_HW[..., None], 3, axis=2)
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, layer)
    # A copy: arrays that share PIL's memory are read-only, which torch warns of.
    return np.array(picture.convert("RGB"))


def _turn_upright(pixels_HWC: np.ndarray, orientation: int) -> np.ndarray:
    """Undo the EXIF orientation 1 to 8 (CIPA DC-008, tag 274); unknown values change nothing."""
    if orientation in (5, 6, 7, 8):
        pixels_HWC = pixels_HWC.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels_HWC = pixels_HWC[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels_HWC = pixels_HWC[::-1]
    return np.ascontiguousarray(pixels_HWC)
