"""What do the loaders read? Shards in img2dataset's layout and a long clip, the same at every run.

Pictures are made, so that the benchmark needs no download: noise whose amplitude falls with spatial
frequency as that of photographs does (Field 1987: about 1/f), encoded to the size that web
photographs have. What decoding costs depends on pixels and on bytes, and both are as in real shards.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import simplejpeg

__all__ = ["SIDES", "photo", "write_clip", "write_shards"]

SIDES = {"datacomp": (400, 512), "laion": (256, 384)}
"""Shortest and longest side in pixels: DataComp's shards hold at most 512, LAION-400M's recipe 256 and up."""
_QUALITY = 85
"""With these slopes: JPEGs of 40 to 60 KB at 400 to 512 pixels."""
_SCENES, _SCENE = 4, 1024
_GREY_SLOPE, _COLOUR_SLOPE = 1.35, 1.7
_CAPTION = "a photo of {} things on a table in the {} light of an afternoon"


def write_shards(folder: Path, samples: int, shards: int, sides: tuple[int, int]) -> str:
    """Tars of jpg, json and txt named by number; gives the path with braces that names them all."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    scenes = [photo(_SCENE, _SCENE, rng) for _ in range(_SCENES)]
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(samples // shards):
                for extension, content in _sample(f"{shard:05d}{number:04d}", scenes, sides, rng).items():
                    member = tarfile.TarInfo(f"{shard:05d}{number:04d}.{extension}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return str(folder / f"{{00000..{shards - 1:05d}}}.tar")


def _sample(
    key: str, scenes: list[np.ndarray], sides: tuple[int, int], rng: np.random.Generator
) -> dict[str, bytes]:
    """The fields of a picture cut from one of the scenes: noise is alike at every place and scale."""
    height, width = (int(side) for side in rng.integers(*sides, 2, endpoint=True))
    top, left = rng.integers(0, (_SCENE - height, _SCENE - width))
    scene_HWC = scenes[rng.integers(len(scenes))]
    pixels_HWC = np.ascontiguousarray(scene_HWC[top : top + height, left : left + width])
    caption = _CAPTION.format(*rng.integers(1, 1000, 2))
    about = {
        "caption": caption,
        "url": f"https://example.org/pictures/{key}.jpg",
        "key": key,
        "status": "success",
        "error_message": None,
        "width": width,
        "height": height,
        "original_width": 2 * width,
        "original_height": 2 * height,
        "exif": "{}",
        "sha256": rng.bytes(32).hex(),
    }
    jpeg = simplejpeg.encode_jpeg(pixels_HWC, quality=_QUALITY, colorsubsampling="420")
    return {"jpg": bytes(jpeg), "json": json.dumps(about, indent=4).encode(), "txt": caption.encode()}


def photo(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """uint8 (H, W, 3): grey noise of a photograph's spectrum, tinted by smoother noise."""
    grey_HW = _noise(height, width, _GREY_SLOPE, rng)
    tints = [_noise(height, width, _COLOUR_SLOPE, rng) for _ in range(3)]
    pixels_HWC = np.stack([128 + 50 * grey_HW + 18 * tint_HW for tint_HW in tints], axis=-1)
    return pixels_HWC.clip(0, 255).astype(np.uint8)


def _noise(height: int, width: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """Amplitudes fall with frequency to the power of ``slope``; variance 1."""
    vertical, horizontal = np.fft.fftfreq(height) * height, np.fft.rfftfreq(width) * width
    frequency = np.hypot(vertical[:, None], horizontal[None, :])
    frequency[0, 0] = np.inf
    spectrum = rng.standard_normal((2, *frequency.shape)) / frequency**slope
    field_HW = np.fft.irfft2(spectrum[0] + 1j * spectrum[1], (height, width))
    return np.asarray(field_HW / field_HW.std())


def write_clip(seconds: int, height: int, width: int, rate: int = 30) -> bytes:
    """H.264 in MP4, a key frame every 30: the camera moves over a large picture, the sensor is noisy."""
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options={"g": "30", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame_HWC in _pan(seconds * rate, height, width, rng):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def _pan(frames: int, height: int, width: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    scene_HWC = photo(height + frames, width + 2 * frames, rng)
    grain_HWC = rng.integers(0, 4, (height + 64, width + 64, 1), dtype=np.uint8)
    for frame in range(frames):
        view_HWC = scene_HWC[frame : frame + height, 2 * frame : 2 * frame + width]
        top, left = rng.integers(0, 64, 2)
        grained_HWC = view_HWC // 2 + 64 + grain_HWC[top : top + height, left : left + width]
        yield np.ascontiguousarray(grained_HWC)
