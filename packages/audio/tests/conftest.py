"""What the tests share: a tiny config, batches made by hand, and materialised encoders."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import av
import numpy as np
import pytest
import soundfile
import torch

from spectranet import ModalityBatch, Values
from spectranet_audio.config import AudioConfig
from spectranet_audio.encoder import AudioEncoder, build_encoder
from spectranet_audio.transform import collate


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def tiny() -> AudioConfig:
    return AudioConfig(
        max_seconds=2.0,
        width=32,
        layers=2,
        heads=4,
        mlp_hidden=64,
        conv_dim=[16],
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=4,
    )


@pytest.fixture
def materialised() -> Callable[..., AudioEncoder]:
    """Build on the meta device, then storage and weights, as the core does."""

    def build(config: AudioConfig, seed: int = 0) -> AudioEncoder:
        with torch.device("meta"):
            encoder = build_encoder(config)
        encoder.to_empty(device="cpu")
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.fill_(float("nan"))  # what init_weights forgets shows
        torch.manual_seed(seed)
        with torch.no_grad():
            encoder.init_weights()
        return encoder

    return build


def _padded(rows: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(row) for row in rows)
    index = torch.zeros(len(rows), longest, dtype=torch.int64)
    valid = torch.zeros(len(rows), longest, dtype=torch.bool)
    for place, row in enumerate(rows):
        index[place, : len(row)] = torch.from_numpy(row)
        valid[place, : len(row)] = True
    return index, valid


@pytest.fixture
def batch_of() -> Callable[..., ModalityBatch]:
    """A batch of samples' values, some of whose tokens are hidden."""

    def build(values: Sequence[Values], hidden: Sequence[np.ndarray] | None = None) -> ModalityBatch:
        masks = hidden or [np.zeros(len(one.segment_N), dtype=bool) for one in values]
        visible_BV, visible_valid_BV = _padded([np.flatnonzero(~mask) for mask in masks])
        hidden_BH, hidden_valid_BH = _padded([np.flatnonzero(mask) for mask in masks])
        segment_BN, valid_BN = _padded([one.segment_N for one in values])
        position_BN, _ = _padded([one.position_NP[:, 0] for one in values])
        return ModalityBatch(
            data=collate([one.data for one in values]),
            position_BNP=position_BN[..., None],
            segment_BN=segment_BN,
            valid_BN=valid_BN,
            visible_BV=visible_BV,
            visible_valid_BV=visible_valid_BV,
            hidden_BH=hidden_BH,
            hidden_valid_BH=hidden_valid_BH,
            content_B=torch.arange(len(values)),
        )

    return build


@pytest.fixture
def wav_bytes() -> Callable[..., bytes]:
    """(T,) or (T, C) samples as the bytes of a sound file that libsndfile can write."""

    def write(
        sound: np.ndarray, rate: int = 16_000, format: str = "WAV", subtype: str | None = None
    ) -> bytes:
        file = io.BytesIO()
        soundfile.write(file, sound, rate, format=format, subtype=subtype)
        return file.getvalue()

    return write


@pytest.fixture
def by_pyav() -> Callable[..., bytes]:
    """(C, T) samples as the bytes of a file that FFmpeg's libraries write."""

    def write(sound_CT: np.ndarray, rate: int, format: str, codec: str, picture: bool = False) -> bytes:
        """A file written by FFmpeg's libraries, with a blank video stream if asked."""
        file = io.BytesIO()
        with av.open(file, "w", format=format) as container:
            stream = container.add_stream(codec, rate=rate, layout="stereo" if len(sound_CT) == 2 else "mono")
            video = (
                container.add_stream("mpeg4", rate=10, width=32, height=32, pix_fmt="yuv420p")
                if picture
                else None
            )
            if video is not None:
                for _ in range(10):
                    blank = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                    container.mux(video.encode(blank))
                container.mux(video.encode())
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(sound_CT),
                format="fltp",
                layout="stereo" if len(sound_CT) == 2 else "mono",
            )
            frame.sample_rate = rate
            to_codec = av.AudioResampler(
                format=stream.format, layout=stream.layout, rate=rate, frame_size=stream.frame_size or None
            )
            for piece in [*to_codec.resample(frame), *to_codec.resample(None)]:
                container.mux(stream.encode(piece))
            container.mux(stream.encode())
        return file.getvalue()

    return write
