"""A checked sound file that is not decoded yet, read like the waveform it will be.

``recording[start:stop]`` decodes and resamples that span alone; its samples are those that the same
place has when the whole file is resampled.

Shape suffixes: T samples in time, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import soxr

from spectranet import DecodeError
from spectranet_audio.frames import LONGEST_SPAN_S, SAMPLE_RATE

__all__ = ["BLOCK", "Recording", "Sound", "Track", "mean_of_channels"]

BLOCK = 2**18
"""Samples that a track decodes at a time: memory beyond the result does not grow with the span."""

_CONTEXT = 256
"""Samples, at the lower of the two rates, that soxr's HQ filter may see on either side: 16 ms at 16 kHz.
Of 160 on, the largest difference from the whole file's samples is the rounding of float32."""


class Sound(Protocol):
    """What a transform needs of a sound at 16 kHz: a :class:`Recording`, or an array."""

    def __len__(self) -> int: ...

    def __getitem__(self, span: slice, /) -> np.ndarray: ...


class Track(Protocol):
    """The sound of a file at its own rate."""

    @property
    def rate(self) -> int: ...

    @property
    def frames(self) -> int:
        """Samples of a channel, as the header or a count of packets has them."""

    def blocks(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """The samples [start, stop), averaged over channels: float32 (T,), each of at least one sample.

        The same span always gives the same samples.

        Raises:
            DecodeError: the bytes are broken there, or end too early.
        """


@dataclass(frozen=True)
class Recording:
    """``len(recording)`` samples at 16 kHz, the mean of all channels; full scale is 1.

    Slices with a step of 1 and ``np.asarray(recording)`` give float32 (T,). Resampling is soxr's HQ.
    """

    track: Track

    def __len__(self) -> int:
        return int(self.track.frames * SAMPLE_RATE / self.track.rate + 0.5)  # soxr's own count

    def __getitem__(self, span: slice) -> np.ndarray:
        """Decode and resample a span.

        Raises:
            DecodeError: broken there, not finite there, or longer than ``LONGEST_SPAN_S``.
        """
        start, stop, step = span.indices(len(self))
        if step != 1:
            raise ValueError(f"a recording is read with a step of 1, not {step}")
        if stop - start > LONGEST_SPAN_S * SAMPLE_RATE:
            seconds = (stop - start) / SAMPLE_RATE
            raise DecodeError(f"{seconds:.0f} s at once are over the limit of {LONGEST_SPAN_S} s")
        if stop <= start:
            return np.zeros(0, dtype=np.float32)
        if self.track.rate == SAMPLE_RATE:
            return _joined(self.track.blocks(start, stop))
        return self._resampled(start, stop)

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)  # type: ignore[call-overload, no-any-return]

    def _resampled(self, start: int, stop: int) -> np.ndarray:
        """With enough of the neighbours, from a place that the grids of both rates share."""
        rate, frames = self.track.rate, self.track.frames
        divisor = math.gcd(rate, SAMPLE_RATE)
        context = math.ceil(_CONTEXT * max(1.0, rate / SAMPLE_RATE))
        periods = max(0, start * rate // SAMPLE_RATE - context) // (rate // divisor)
        first = periods * (rate // divisor)
        last = min(frames, -(-stop * rate // SAMPLE_RATE) + context)
        skipped = start - periods * (SAMPLE_RATE // divisor)
        blocks = self.track.blocks(first, last)
        if last - first <= BLOCK:
            resampled_T = soxr.resample(_joined(blocks), rate, SAMPLE_RATE, quality="HQ")
        else:
            resampled_T = _joined(_streamed(blocks, rate))
        return resampled_T[skipped : skipped + stop - start]  # type: ignore[no-any-return]


def mean_of_channels(sound_TC: np.ndarray) -> np.ndarray:
    """Float32 (T, C) to (T,). Ours, since decoders that are asked for mono weigh the channels."""
    channels = sound_TC.shape[1]
    if channels == 1:
        return sound_TC[:, 0]
    if channels == 2:  # numpy sums short rows slowly
        return np.float32(0.5) * (sound_TC[:, 0] + sound_TC[:, 1])
    return sound_TC.mean(axis=1, dtype=np.float32)  # type: ignore[no-any-return]


def _streamed(blocks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    for block_T in blocks:
        yield stream.resample_chunk(block_T)
    yield stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)


def _joined(blocks: Iterator[np.ndarray]) -> np.ndarray:
    parts = list(blocks)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
