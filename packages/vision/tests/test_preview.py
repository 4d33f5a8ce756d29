"""What people are shown of pictures and clips is what the model gets, hidden patches veiled."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from spectranet_vision.config import ImageConfig, VideoConfig
from spectranet_vision.plugin import IMAGE, VIDEO
from spectranet_vision.preview import preview_image


def shown(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def transformed(modality, config):
    rng = np.random.default_rng(0)
    raw = modality.decode(modality.example(rng))
    return raw, modality.build_transform(config, True)(raw, rng)


def test_a_small_crop_is_shown_pixel_by_pixel_with_its_hidden_patch_veiled():
    config = ImageConfig(size=32, patch_size=16)
    _, values = transformed(IMAGE, config)

    (preview,) = IMAGE.preview(config, values, np.array([False, False, True, False]))

    pixels = shown(preview.content)[2::4, 2::4]
    crop = values.data["pixels"].transpose(1, 2, 0)
    assert pixels.shape == (32, 32, 3), "four times as large"
    assert (pixels[:16] == crop[:16]).all() and (pixels[16:, 16:] == crop[16:, 16:]).all()
    assert (pixels[16:, :16] != crop[16:, :16]).any(axis=-1).all()


def test_a_large_crop_is_a_jpeg():
    config = ImageConfig()
    _, values = transformed(IMAGE, config)

    (preview,) = preview_image(config, values, np.zeros(196, dtype=bool))

    crop = values.data["pixels"].transpose(1, 2, 0)
    assert preview.content.startswith(b"\xff\xd8")
    assert np.abs(shown(preview.content).astype(int) - crop).mean() < 6


@pytest.mark.parametrize(("frames", "rows", "across"), [(6, 1, 6), (16, 2, 8)])
def test_frames_of_a_clip_stand_in_rows_of_eight(frames: int, rows: int, across: int):
    config = VideoConfig(size=32, patch_size=16, frames=frames, tubelet=2)
    _, values = transformed(VIDEO, config)
    hidden_N = np.zeros(4 * frames // 2, dtype=bool)
    hidden_N[4] = True  # the first patch of frames 2 and 3

    (preview,) = VIDEO.preview(config, values, hidden_N)

    height, width, _ = shown(preview.content).shape
    assert (height, width) == (rows * 98 - 2, across * 98 - 2)
    patch = shown(preview.content)[24, [98 * number + 24 for number in range(6)]].astype(int)
    assert [np.abs(each - [214, 64, 140]).sum() < 250 for each in patch][2:4] == [True, True]
    stored = values.data["frames"][0, :, 8, 8]
    assert (patch[0] == stored).all()


def test_sizes_lengths_and_what_is_smaller_than_the_model_wants_are_told():
    raw, _ = transformed(IMAGE, ImageConfig())
    assert IMAGE.describe(ImageConfig(), raw) == {
        "width_px": 128,
        "height_px": 96,
        "smaller_than_size_share": 1,
    }
    assert IMAGE.describe(ImageConfig(size=96), raw)["smaller_than_size_share"] == 0

    clip, _ = transformed(VIDEO, VideoConfig())
    facts = VIDEO.describe(VideoConfig(), clip)
    assert (facts["width_px"], facts["height_px"], facts["frames_per_s"]) == (128, 96, 8)
    assert facts["duration_s"] == pytest.approx(2)
