"""Write a folder of training data in which something is wrong with much of it.

    python tests/bad_inputs/make.py FOLDER

What is expected of each file stands in ``tests/test_bad_inputs.py``. Sources:

    pictures/  rows.jsonl names files        sounds/  rows.jsonl names files
    clips/     rows.jsonl names files        captions/  a tar of jpg + txt, and one cut short
    shards/    tars: one with bad members, one cut short, one whole
    leaving/   three good tars, of which a test makes one vanish and one hang while a run reads them
"""

from __future__ import annotations

import io
import json
import struct
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

import av
import numpy as np
import soundfile
from PIL import Image

GOOD = 8
"""Good samples of each source, named ``good0`` and so on."""


def write_bad_inputs(folder: Path) -> None:
    write_pictures(folder / "pictures")
    write_sounds(folder / "sounds")
    write_clips(folder / "clips")
    write_captions(folder / "captions")
    write_shards(folder / "shards")
    write_leaving(folder / "leaving")


# ------------------------------------------------------------------------------------------ sources


def write_pictures(folder: Path) -> None:
    jpg = picture(50, "JPEG")
    bad = {
        "truncated.jpg": jpg[: len(jpg) // 2],
        "empty.jpg": b"",
        "text.jpg": b"no picture at all",
        "bomb_pixels.png": black_png(30_000, 30_000),
        "bomb_bytes.jpg": jpg,  # made longer below, without its bytes on the disk
        "png.jpg": picture(51, "PNG"),  # a wrong extension is no fault: content decides
    }
    write_rows(folder, "image", {f"good{i}.jpg": picture(i, "JPEG") for i in range(GOOD)} | bad)
    with (folder / "bomb_bytes.jpg").open("r+b") as file:
        file.truncate(2**26 + 1)
    with (folder / "rows.jsonl").open("a") as rows:
        for key, path in (
            ("gone", "gone.jpg"),
            ("outside", "../sounds/good0.wav"),
            ("passwd", "/etc/passwd"),
        ):
            rows.write(json.dumps({"key": key, "image": path, "text": key}) + "\n")


def write_sounds(folder: Path) -> None:
    wav = sound(50)
    bad = {
        "truncated.wav": wav[: len(wav) // 2],
        "empty.wav": b"",
        "no_samples.wav": encoded(np.zeros(0, dtype=np.float32)),
        "bomb_seconds.flac": flac_that_says(100_000),
        "picture.wav": picture(3, "JPEG"),
        "flac.wav": encoded(np.sin(np.arange(8_000)), 16_000, "FLAC"),  # content decides
    }
    write_rows(folder, "audio", {f"good{i}.wav": sound(i) for i in range(GOOD)} | bad)


def write_clips(folder: Path) -> None:
    mp4, indexed_first = clip(50), clip(51, movflags="faststart")
    bad = {
        "truncated.mp4": mp4[: len(mp4) // 2],
        "truncated_end.mp4": indexed_first[:-200],
        "empty.mp4": b"",
        "text.mp4": b"no clip at all, though it is long enough",
    }
    write_rows(folder, "video", {f"good{i}.mp4": clip(i) for i in range(GOOD)} | bad)


def write_captions(folder: Path) -> None:
    captions = {
        "not_utf8": b"caf\xe9",
        "empty": b"",
        "blank": b" \n\t",
        "megabyte": b"word " * (2**20 // 5 + 1),
        "long": b"word " * (900_000 // 5),  # accepted, and cut to max_tokens
    }
    good = {f"good{i}": f"caption number {i}".encode() for i in range(GOOD)}
    members = {}
    for i, (key, caption) in enumerate((good | captions).items()):
        members |= {f"{key}.jpg": picture(i, "JPEG"), f"{key}.txt": caption}
    folder.mkdir(parents=True)
    (folder / "captions.tar").write_bytes(tar_of(members))
    whole = tar_of(pairs(60, 4))
    (folder / "cut-between.tar").write_bytes(whole[: whole.index(b"good61.jpg")])


def write_shards(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "0-members.tar").write_bytes(tar_with_bad_members())
    whole = tar_of(pairs(20, 4))
    (folder / "1-cut-in-member.tar").write_bytes(whole[: whole.index(b"good21.jpg") + 600])
    (folder / "2-whole.tar").write_bytes(tar_of(pairs(30, 4)))


def write_leaving(folder: Path) -> None:
    folder.mkdir(parents=True)
    for i, name in enumerate(("stays", "vanishes", "hangs")):
        (folder / f"{name}.tar").write_bytes(tar_of(pairs(40 + 4 * i, 4)))


# ------------------------------------------------------------------------------------------ content


def picture(number: int, kind: str) -> bytes:
    noise = np.random.default_rng(number).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


def black_png(width: int, height: int) -> bytes:
    """A whole PNG of one bit a pixel, all black: 900 million pixels in 110 kB."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + width // 8) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def sound(number: int) -> bytes:
    return encoded(0.1 * np.random.default_rng(number).standard_normal(8_000))


def encoded(wave_T: np.ndarray, rate: int = 16_000, kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave_T, rate, format=kind)
    return file.getvalue()


def flac_that_says(seconds: int) -> bytes:
    """Eight thousand samples under a header that declares more than a day (RFC 9639, section 8.2)."""
    content = bytearray(encoded(np.zeros(8_000), 16_000, "FLAC"))
    content[21] &= 0xF0  # with the four bytes after it: the number of samples
    content[22:26] = (16_000 * seconds).to_bytes(4, "big")
    return bytes(content)


def clip(number: int, **options: str) -> bytes:
    """Half a second of 32x32 pixels."""
    rng = np.random.default_rng(number)
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:  # faststart opens it a second time
        write_clip(file.name, rng, options)
        return file.read()


def write_clip(path: str, rng: np.random.Generator, options: dict[str, str]) -> None:
    with av.open(path, "w", options=options) as container:
        stream = container.add_stream("mpeg4", rate=16)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(8):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def pairs(first: int, count: int) -> dict[str, bytes]:
    members = {}
    for i in range(first, first + count):
        members |= {f"good{i}.jpg": picture(i, "JPEG"), f"good{i}.txt": f"caption number {i}".encode()}
    return members


# ------------------------------------------------------------------------------------------ storage


def write_rows(folder: Path, column: str, files: dict[str, bytes]) -> None:
    """Files, and a manifest in which each has its stem as key and as caption."""
    folder.mkdir(parents=True)
    rows = []
    for name, content in files.items():
        (folder / name).write_bytes(content)
        key = name.partition(".")[0]
        rows.append({"key": key, column: name, "text": key})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def tar_of(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in members.items():
            add(tar, name, content)
    return file.getvalue()


def tar_with_bad_members() -> bytes:
    """Four good samples, and members that a careless reader would write over files with."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in pairs(10, 4).items():
            add(tar, name, content)
        add(tar, "good10.jpg", picture(99, "JPEG"))  # a second time
        for name in ("../up", "/absolute", "a/../../up"):
            add(tar, f"{name}.jpg", picture(98, "JPEG"))
            add(tar, f"{name}.txt", b"outside")
        for kind, target in ((tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "good10.jpg")):
            link = tarfile.TarInfo(f"link{kind.decode()}.jpg")
            link.type, link.linkname = kind, target
            tar.addfile(link)
    return file.getvalue()


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


if __name__ == "__main__":
    write_bad_inputs(Path(sys.argv[1]))
