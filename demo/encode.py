"""Scenes as files: JPEG, MP4 (H.264, with AAC where there is sound) and WAV, as bytes."""

from __future__ import annotations

import io

import av
import numpy as np
import simplejpeg
import soundfile
from drawing import FRAMES_PER_S, SIDE
from tones import RATE_HZ

__all__ = ["jpeg", "mp4", "wav"]


def jpeg(image_HWC: np.ndarray) -> bytes:
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(image_HWC), quality=88, colorsubsampling="444"))


def wav(wave_S: np.ndarray) -> bytes:
    """16-bit PCM, mono, 16 kHz."""
    file = io.BytesIO()
    soundfile.write(file, wave_S, RATE_HZ, format="WAV", subtype="PCM_16")
    return file.getvalue()


def mp4(frames_THWC: np.ndarray, wave_S: np.ndarray | None = None) -> bytes:
    """H.264 video, and the wave as an AAC track if there is one.

    The bytes depend on the frames alone: the encoder has one thread, and does not look ahead (the
    assembler of x264's look-ahead gave one clip in six other bytes from call to call).
    """
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video = container.add_stream(
            "libx264", rate=FRAMES_PER_S, options={"preset": "veryfast", "crf": "20", "tune": "zerolatency"}
        )
        video.width = video.height = SIDE
        video.pix_fmt = "yuv420p"
        video.thread_count = 1
        sound = _add_sound(container) if wave_S is not None else None
        for frame_HWC in frames_THWC:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(video.encode())
        if sound is not None and wave_S is not None:
            block = av.AudioFrame.from_ndarray(wave_S[None], format="fltp", layout="mono")
            block.sample_rate = RATE_HZ
            container.mux(sound.encode(block))
            container.mux(sound.encode())
    return file.getvalue()


def _add_sound(container: av.container.OutputContainer) -> av.AudioStream:
    """The fast coder takes a fifth of the default's time, and these tones do not need better."""
    return container.add_stream("aac", rate=RATE_HZ, layout="mono", options={"aac_coder": "fast"})
