"""What fingerprints promise: 64 bits, near for near duplicates, far for others."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from spectranet_vision.examples import mp4_example
from spectranet_vision.fingerprint import image_fingerprint, video_fingerprint
from spectranet_vision.image_decode import decode_image
from spectranet_vision.video_decode import decode_video


def picture(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((200, 160), Image.Resampling.BICUBIC)


def distance(a: int, b: int) -> int:
    return (a ^ b).bit_count()


def test_a_smaller_recompressed_copy_is_near_and_another_picture_far():
    prints = []
    for seed in range(20):
        file = io.BytesIO()
        picture(seed).resize((100, 80)).save(file, "JPEG", quality=50)
        copy = image_fingerprint(decode_image(file.getvalue()))
        prints.append(image_fingerprint(np.array(picture(seed))))
        assert 0 <= prints[-1] < 2**64 and distance(prints[-1], copy) <= 4
    others = [distance(a, b) for i, a in enumerate(prints) for b in prints[:i]]
    assert min(others) >= 12


def test_the_bits_are_what_the_definition_says():
    falling = np.repeat(np.arange(255, 75, -20, dtype=np.uint8)[None, :, None], 8, 0).repeat(3, 2)
    assert image_fingerprint(falling) == 0
    assert image_fingerprint(np.ascontiguousarray(falling[:, ::-1])) == 2**64 - 1


def test_clips_have_hashes_too():
    prints = [
        video_fingerprint(decode_video(mp4_example(np.random.default_rng(seed)))) for seed in (0, 0, 1, 2)
    ]
    assert prints[0] == prints[1] and len(set(prints)) == 3
    assert all(0 <= value < 2**64 for value in prints)
