"""Clips: our decoder and transform against a plain PyAV pipeline, on the same bytes in one run.

``loader.video_vs_plain``: 16 frames at 224 of the short clips beside the repository where they are, and
of a made one of 10 s at 720p with a key frame every 30. The plain pipeline decodes all frames of a clip
to RGB, keeps 16, and has torchvision crop and resize them: what one writes with PyAV's documentation open.
The figure is of the short clips where there are any; ``loader.long_video_vs_plain`` is of the made one.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import torch
from interleaved import figure, measure
from loader_images import per_core_table
from loader_material import write_clip
from torchvision.transforms import InterpolationMode, v2

from spectranet_vision.config import VideoConfig
from spectranet_vision.video_decode import decode_video
from spectranet_vision.video_transform import VideoTransform

__all__ = ["compare_videos"]

_CLIPS = Path(__file__).resolve().parents[2] / "shared" / "data" / "clips"
_FRAMES, _SIZE, _SCALE, _ASPECT = 16, 224, (0.5, 1.0), (3 / 4, 4 / 3)


def compare_videos(budget_s: float) -> None:
    short = [path.read_bytes() for path in sorted(_CLIPS.glob("*.mp4"))]
    if short:
        ratio = _compare(f"{len(short)} clips of 1 to 1.5 s, 320 pixels wide", short, budget_s / 2)
        figure("loader.video_vs_plain", ratio, "x")
    else:
        print("\nno clips at ../shared/data/clips: loader.video_vs_plain is left out")
    ratio = _compare("A clip of 10 s at 720p", [write_clip(10, 720, 1280)], budget_s / 2)
    figure("loader.long_video_vs_plain", ratio, "x")


def _compare(title: str, clips: Sequence[bytes], budget_s: float) -> float:
    ours, plain = _ours(), _plain()
    sides: dict[str, Callable[[], object]] = {
        "ours": lambda: [ours(clip) for clip in clips],
        "plain PyAV": lambda: [plain(clip) for clip in clips],
    }
    timings = measure(sides, rounds=30, budget_s=budget_s)
    per_core_table(title, timings, len(clips))
    return timings["plain PyAV"].ratio_to(timings["ours"])


def _ours() -> Callable[[bytes], np.ndarray]:
    transform, rng = VideoTransform(VideoConfig(size=_SIZE, frames=_FRAMES), True), np.random.default_rng(0)
    return lambda clip: transform(decode_video(clip), rng).data["frames"]


def _plain() -> Callable[[bytes], torch.Tensor]:
    crop = v2.RandomResizedCrop(_SIZE, _SCALE, _ASPECT, InterpolationMode.BICUBIC, antialias=True)

    def load(clip: bytes) -> torch.Tensor:
        with av.open(io.BytesIO(clip)) as container:
            container.streams.video[0].thread_count = 1  # as ours: samples are what runs in parallel
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        places = np.linspace(0, len(frames) - 1, _FRAMES).round().astype(int)
        frames_THWC = torch.from_numpy(np.stack([frames[place] for place in places]))
        cut: torch.Tensor = crop(frames_THWC.permute(0, 3, 1, 2))
        return cut

    return load
