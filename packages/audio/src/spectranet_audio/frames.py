"""Where the frames of a waveform stand: the arithmetic of wav2vec 2.0's seven convolutions.

At 16 kHz a frame is taken every 20 ms and sees 25 ms: frame i covers the samples
[i * HOP, i * HOP + WINDOW). Nothing here needs torch.
"""

from __future__ import annotations

__all__ = [
    "FRAMES_PER_SEGMENT",
    "HOP",
    "KERNELS",
    "LONGEST_SPAN_S",
    "SAMPLE_RATE",
    "STRIDES",
    "WINDOW",
    "frame_count",
]

SAMPLE_RATE = 16_000
LONGEST_SPAN_S = 3600
"""What is decoded of a recording at once: 230 MB."""
KERNELS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)
HOP = 320
"""Samples between frames: the product of the strides."""
WINDOW = 400
"""Samples that one frame sees: the receptive field of the seven convolutions."""
FRAMES_PER_SEGMENT = 10
"""Frames of one time segment: 200 ms."""


def frame_count(samples: int) -> int:
    """Number of frames of a waveform, 0 where it is shorter than one window.

    The floors of the seven layers, (T - kernel) // stride + 1 each, collapse into one.
    """
    return max(0, (samples - WINDOW) // HOP + 1)
