"""What decode_image promises: formats by content, upright RGB, and refusals that say why."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps

from spectranet import DecodeError
from spectranet_vision import image_decode
from spectranet_vision.examples import jpeg_example
from spectranet_vision.image_decode import decode_image, header_size


@pytest.fixture
def picture() -> Image.Image:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    return coarse.resize((56, 40), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def test_jpeg_equals_pil_to_rounding(picture):
    data = encoded(picture, "JPEG", quality=92)
    ours, theirs = decode_image(data), np.asarray(Image.open(io.BytesIO(data)))
    assert ours.dtype == np.uint8 and ours.shape == (40, 56, 3)
    assert np.abs(ours.astype(int) - theirs).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_lossless_formats_are_exact(picture, kind):
    assert np.array_equal(decode_image(encoded(picture, kind, lossless=True)), np.asarray(picture))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_jpeg_become_the_rgb_that_pil_shows(picture, mode):
    data = encoded(picture.convert(mode), "JPEG", quality=95)
    shown = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(decode_image(data) - shown).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(picture, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture, kind, exif=exif, lossless=True, quality=95)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))).astype(int)
    ours = decode_image(data)
    assert ours.flags.c_contiguous
    assert ours.shape == upright.shape and np.abs(ours - upright).max() <= 2


def test_transparency_is_laid_on_white(picture):
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    alpha = np.asarray(picture)[..., 3:] / 255
    expected = np.asarray(picture)[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(decode_image(encoded(picture, "PNG")) - expected).max() <= 1


def test_a_transparent_palette_entry_is_white():
    indexed = Image.new("P", (4, 2), 0)
    indexed.putpalette([10, 20, 30, 200, 100, 0])
    indexed.putpixel((3, 1), 1)
    pixels = decode_image(encoded(indexed, "PNG", transparency=0))
    assert pixels[1, 3].tolist() == [200, 100, 0] and pixels[0, 0].tolist() == [255, 255, 255]


def test_sixteen_bit_grey_keeps_its_high_byte():
    values = np.array([[0, 255, 256], [4096, 40_000, 65_535]], dtype=np.uint16)
    data = encoded(Image.fromarray(values), "PNG")
    assert decode_image(data)[..., 1].tolist() == [[0, 0, 1], [16, 156, 255]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.3, 0.7, 0.98])
def test_a_truncated_file_is_refused(picture, kind, kept):
    data = encoded(picture, kind)
    with pytest.raises(DecodeError):
        decode_image(data[: int(kept * len(data))])


def with_slip(data: bytes, slip: str) -> bytes:
    """A JPEG as web data have them: whole, but not as the standard has it."""
    tables, scan = data.index(b"\xff\xdb"), data.index(b"\xff\xda")
    spectrum_end = scan + 5 + 2 * data[scan + 4] + 1
    return {
        "bytes before the end": data[:-2] + b"abcdefg" + data[-2:],
        "padding before the end": data[:-2] + bytes(500) + data[-2:],
        "bytes between segments": data[:tables] + b"abc" + data[tables:],
        "version of JFIF": data.replace(b"JFIF\0\x01", b"JFIF\0\x02"),
        "colour profile": data[:2] + b"\xff\xe2\0\x14ICC_PROFILE\0\0\0abcd" + data[2:],
        "spectrum of the scan": data[:spectrum_end] + b"\0" + data[spectrum_end + 1 :],
    }[slip]


@pytest.mark.parametrize(
    "slip",
    [
        "bytes before the end",
        "padding before the end",
        "bytes between segments",
        "version of JFIF",
        "colour profile",
        "spectrum of the scan",
    ],
)
def test_a_jpeg_with_a_harmless_slip_is_the_picture_that_it_is_without(picture, slip):
    data = encoded(picture, "JPEG", quality=92)
    slipped = with_slip(data, slip)
    with pytest.raises(ValueError, match=r"Corrupt|Warning|Invalid"):
        simplejpeg.decode_jpeg(slipped, "RGB", strict=True)
    assert np.abs(decode_image(slipped).astype(int) - decode_image(data)).max() <= 2
    with pytest.raises(DecodeError):
        decode_image(slipped[: len(data) * 3 // 4])


def test_a_jpeg_of_which_picture_data_are_lost_is_refused(picture):
    data = encoded(picture, "JPEG", quality=92)
    middle = (data.index(b"\xff\xda") + len(data)) // 2
    for lossy in (
        data[:middle] + b"\xff\xd9",
        data[:middle] + bytes(range(60)) + b"\xff\xd9",
        data[:-2] + bytes(range(1, 60)) + data[-2:],
        data[:middle] + b"\xff\xd0abc" + data[middle:],
    ):
        with pytest.raises(DecodeError, match="JPEG: "):
            decode_image(lossy)


@pytest.mark.parametrize("lossless", [False, True])
def test_webp_sizes_are_read_from_every_kind_of_header(picture, lossless):
    assert header_size(encoded(picture, "WEBP", lossless=lossless)) == (56, 40, "WebP")
    picture.putalpha(100)
    extended = encoded(picture, "WEBP", lossless=lossless, exif=Image.Exif().tobytes() + b"x")
    assert extended[12:16] == b"VP8X" and header_size(extended) == (56, 40, "WebP")


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"RIFF", b"GIF89a" + bytes(40), b"hello" * 20])
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(DecodeError):
        decode_image(data)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_bomb_is_refused_from_its_header():
    """12,000 squared in a few kilobytes: 432 MB of pixels. Refused without a warning or a decode."""
    header = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0)
    bomb = image_decode._PNG_MAGIC + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b""))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DecodeError, match="12000x12000 pixels exceeds"):
            decode_image(bomb)


def test_the_pixel_limit_holds_for_each_format(picture, monkeypatch):
    monkeypatch.setattr(image_decode, "MAX_PIXELS", 56 * 40 - 1)
    for kind in ("JPEG", "PNG", "WEBP"):
        with pytest.raises(DecodeError, match="exceeds the limit"):
            decode_image(encoded(picture, kind))


def test_flipped_bytes_in_a_jpeg_header_raise_nothing_but_decode_errors():
    data = bytearray(jpeg_example(np.random.default_rng(0)))
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        damaged[int(rng.integers(3, 400))] ^= int(rng.integers(1, 256))
        try:
            decode_image(bytes(damaged))
        except DecodeError:
            refused += 1
    assert refused > 50


def test_the_example_is_a_jpeg_that_its_seed_decides():
    first, again, other = (jpeg_example(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first == again != other
    assert simplejpeg.is_jpeg(first) and decode_image(first).shape == (96, 128, 3)
