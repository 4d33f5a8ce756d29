"""Files damaged at random give a sample or an error that names them, never another exception or a crash."""

from __future__ import annotations

import io
import runpy
import tarfile
from pathlib import Path

import av
import numpy as np
import pytest

from spectranet import DataError, Modality
from spectranet.data.options import OpenOptions
from spectranet.data.pipeline import Viewer
from spectranet.data.readers import readers
from spectranet_audio.plugin import AUDIO
from spectranet_vision.plugin import IMAGE, VIDEO

MAKE = runpy.run_path(str(Path(__file__).parent / "bad_inputs" / "make.py"))
VARIANTS = 200


def compressed_sound(kind: str, codec: str) -> bytes:
    """A quarter of a second at 16 kHz."""
    file = io.BytesIO()
    wave_CT = 0.1 * np.random.default_rng(0).standard_normal((1, 4_000)).astype(np.float32)
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave_CT, format="fltp", layout="mono")
        frame.rate = 16_000
        for resampled in av.AudioResampler(stream.format, "mono", 16_000, stream.frame_size).resample(frame):
            container.mux(stream.encode(resampled))
        container.mux(stream.encode())
    return file.getvalue()


FILES = {
    "jpeg": (IMAGE, lambda: MAKE["picture"](0, "JPEG")),
    "png": (IMAGE, lambda: MAKE["picture"](0, "PNG")),
    "webp": (IMAGE, lambda: MAKE["picture"](0, "WEBP")),
    "wav": (AUDIO, lambda: MAKE["sound"](0)),
    "flac": (AUDIO, lambda: MAKE["encoded"](np.sin(np.arange(4_000)), 16_000, "FLAC")),
    "ogg": (AUDIO, lambda: MAKE["encoded"](np.sin(np.arange(4_000)), 16_000, "OGG")),
    "mp3": (AUDIO, lambda: MAKE["encoded"](np.sin(np.arange(4_000)), 16_000, "MP3")),
    "m4a": (AUDIO, lambda: compressed_sound("mp4", "aac")),
    "mp4": (VIDEO, lambda: MAKE["clip"](0)),
}


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, often near the start where headers are; or the end cut off; or both."""
    changed = bytearray(content)
    kind = rng.integers(3)
    if kind != 0:
        reach = len(changed) if rng.random() < 0.5 else min(len(changed), 128)
        for _ in range(rng.integers(1, 6)):
            changed[rng.integers(reach)] = rng.integers(256)
    return bytes(changed[: rng.integers(len(changed))] if kind != 1 else changed)


def viewer(modality: Modality) -> Viewer:
    return Viewer.of(modality, modality.config(), train=True, ratio=0.3)


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_give_a_sample_or_an_error_of_the_data(name):
    modality, write = FILES[name]
    content, rng, look = write(), np.random.default_rng(0), viewer(modality)
    assert look.view(content, (0,)).values.position_NP.size
    refused = 0
    for i in range(VARIANTS):
        try:
            view = look.view(damaged(content, rng), (i,))
        except DataError as error:
            refused += 1
            assert str(error)
        else:
            for array in view.values.data.values():
                assert np.isfinite(array).all()
    assert refused > VARIANTS // 10


def test_damaged_tars_give_samples_or_an_error_of_the_data(tmp_path):
    members = {f"{i}.{kind}": b"x" * 300 for i in range(3) for kind in ("jpg", "txt")}
    content, rng = MAKE["tar_of"](members), np.random.default_rng(0)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        headers = [member.offset for member in tar]
    (webdataset,) = [each for each in readers() if each.name == "webdataset"]
    options = OpenOptions(needs=(("jpg",), ("txt",)), cache_dir=str(tmp_path / "cache"))
    whole = broken = 0
    for i in range(VARIANTS // 2):
        changed = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            changed[rng.choice(headers) + rng.integers(512)] = rng.integers(256)
        path = tmp_path / f"{i}.tar"
        path.write_bytes(changed[: rng.integers(len(content))] if i % 2 else changed)
        try:
            samples = webdataset.open(str(path), options)
            for row in range(len(samples)):
                sample = samples.read(row, ("jpg", "txt"))
                assert set(sample.fields) == {"jpg", "txt"}
                whole += 1
            broken += len(samples.broken)
        except DataError as error:
            assert str(path) in str(error)
    assert whole > VARIANTS // 5 and broken > VARIANTS // 5
