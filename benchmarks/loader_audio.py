"""Sound: our path from bytes to a model's input against a plain torchaudio pipeline, on the same files.

Both give what our transform defines: a random crop of ten seconds at 16 kHz mono, at zero mean and
unit variance, and its log-mel frames, normalised too. The plain pipeline is what a user writes from
the manuals: soundfile reads (torchaudio no longer does), channels are averaged, ``Resample``, crop,
``MelSpectrogram``, all in torch with modules made once. "plain, seeks" is what a careful user writes:
the crop is drawn first and only it is read.

``loader.audio_vs_plain`` is the least of the ratios to the plain pipeline over all files.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Mapping

import av
import numpy as np
import soundfile
import soxr
import torch
import torchaudio
from interleaved import figure, measure

from spectranet_audio.config import AudioConfig
from spectranet_audio.decoding import decode
from spectranet_audio.frames import HOP, SAMPLE_RATE, WINDOW
from spectranet_audio.transform import build_transform

__all__ = ["audio_sides", "compare_audio", "sound_files"]

_BINS, _CROP = 80, 10 * SAMPLE_RATE
_FLOOR = 1e-5
_MUSIC_RATE, _MUSIC_S, _LONG_S, _WORD_RATE, _WORD_S = 44_100, 30, 300, 8_000, 0.5


def compare_audio(budget_s: float, quick: bool = False) -> None:
    """A table for every kind of file, the figure, and the resamplers' errors."""
    kinds = sound_files(quick)
    ratios = []
    for kind, files in kinds.items():
        timings = measure(audio_sides(files), rounds=30, budget_s=budget_s / len(kinds))
        print(f"\nSound, {kind}: {len(files)} file(s) of {len(files[0]) / 1e6:.3g} MB")
        for name, timing in timings.items():
            each_s = timing.median / len(files)
            times = timing.ratio_to(timings["ours"])
            print(
                f"  {name:<16} {1 / each_s:9.1f} samples/s per core  {each_s * 1e3:9.3f} ms CPU  {times:6.2f}"
            )
        ratios.append(timings["plain torchaudio"].ratio_to(timings["ours"]))
    figure("loader.audio_vs_plain", min(ratios), "x")
    compare_resamplers()


def audio_sides(files: list[bytes]) -> dict[str, Callable[[], object]]:
    """Each takes every file once from its bytes to a waveform and its log-mel frames."""
    transform = build_transform(AudioConfig(), train=True)
    rng = np.random.default_rng(0)
    return {
        "ours": lambda: [transform(decode(data), rng).data for data in files],
        "plain torchaudio": lambda: [_plain(data, rng) for data in files],
        "plain, seeks": lambda: [_plain_seeking(data, rng) for data in files],
    }


def _plain(data: bytes, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
    sound_TC, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    waveform_T = _resampler(rate)(torch.from_numpy(sound_TC).mean(dim=1))
    surplus = len(waveform_T) - _CROP
    if surplus > 0:
        waveform_T = waveform_T[int(rng.integers(surplus + 1)) :][:_CROP]
    return _finished(waveform_T)


def _plain_seeking(data: bytes, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        wanted = _CROP * file.samplerate // SAMPLE_RATE
        surplus = file.frames - wanted
        if surplus > 0:
            file.seek(int(rng.integers(surplus + 1)))
        sound_TC = file.read(min(wanted, file.frames), dtype="float32", always_2d=True)
        rate = file.samplerate
    return _finished(_resampler(rate)(torch.from_numpy(sound_TC).mean(dim=1)))


def _finished(waveform_T: torch.Tensor) -> Mapping[str, np.ndarray]:
    waveform_T = (waveform_T - waveform_T.mean()) / torch.sqrt(waveform_T.var(correction=0) + 1e-7)
    mel_NM = torch.log(_spectrogram()(waveform_T) + _FLOOR).T
    mel_NM = (mel_NM - mel_NM.mean()) / mel_NM.std(correction=0).clamp(min=1e-2)
    return {"waveform": waveform_T.numpy(), "mel": mel_NM.numpy()}


@functools.cache
def _resampler(rate: int) -> torch.nn.Module:
    return torchaudio.transforms.Resample(rate, SAMPLE_RATE)


@functools.cache
def _spectrogram() -> torch.nn.Module:
    return torchaudio.transforms.MelSpectrogram(
        SAMPLE_RATE,
        n_fft=WINDOW,
        hop_length=HOP,
        n_mels=_BINS,
        center=False,
        norm="slaney",
        mel_scale="slaney",
    )


def sound_files(quick: bool) -> dict[str, list[bytes]]:
    """Made here, so that nothing is downloaded: spoken words by their length, and music by its spectrum.

    The long recordings, which take seconds to make, are left out where it must be quick.
    """
    rng = np.random.default_rng(0)
    words = [_music(_WORD_S, _WORD_RATE, rng)[:, :1] for _ in range(200)]
    music_TC = _music(_MUSIC_S, _MUSIC_RATE, rng)
    files = {
        "words of 0.5 s, WAV, 8 kHz mono": [_written(word, _WORD_RATE, "WAV") for word in words],
        **_forms("music of 30 s", music_TC),
    }
    if quick:
        return files
    long_TC = np.concatenate(
        [music_TC * np.float32(level) for level in np.linspace(0.5, 1, _LONG_S // _MUSIC_S)]
    )
    return files | _forms("recordings of 5 min", long_TC)


def _forms(name: str, sound_TC: np.ndarray) -> dict[str, list[bytes]]:
    return {
        f"{name}, WAV, 44.1 kHz stereo": [_written(sound_TC, _MUSIC_RATE, "WAV")],
        f"{name}, FLAC, 44.1 kHz stereo": [_written(sound_TC, _MUSIC_RATE, "FLAC")],
        f"{name}, MP3, 44.1 kHz stereo": [_mp3(sound_TC, _MUSIC_RATE)],
    }


def _music(seconds: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Float32 (T, 2): noise that falls with frequency as music does, and four notes a second."""
    samples = int(seconds * rate)
    spectrum = rng.standard_normal((2, 2, samples // 2 + 1)) / np.maximum(np.arange(samples // 2 + 1), 20)
    sound_TC = np.fft.irfft(spectrum[0] + 1j * spectrum[1], samples).T
    sound_TC *= 0.05 / sound_TC.std()
    step = rate // 4
    time_s = np.arange(step) / rate
    for start in range(0, samples - step + 1, step):
        pitch_hz = 110 * 2 ** (rng.integers(0, 36) / 12)
        note_T = sum(np.sin(2 * np.pi * pitch_hz * part * time_s) / part for part in (1, 2, 3, 4))
        sound_TC[start : start + step] += 0.15 * (note_T * np.exp(-6 * time_s))[:, None]
    return sound_TC.astype(np.float32).clip(-1, 1)


def _written(sound_TC: np.ndarray, rate: int, format: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound_TC, rate, format=format, subtype="PCM_16")
    return file.getvalue()


def _mp3(sound_TC: np.ndarray, rate: int) -> bytes:
    """128 kbit/s, by LAME."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout="stereo")
        stream.bit_rate = 128_000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound_TC.T), format="fltp", layout="stereo")
        frame.sample_rate = rate
        to_codec = av.AudioResampler(
            format=stream.format, layout=stream.layout, rate=rate, frame_size=stream.frame_size
        )
        for piece in [*to_codec.resample(frame), *to_codec.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode())
    return file.getvalue()


def compare_resamplers() -> None:
    """What each resampler adds to a sweep that it should keep, and leaves of one that it should stop.

    A linear sweep is a formula, so what it is at 16 kHz is known in float64 without any resampler.
    """
    sides: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "soxr HQ (ours)": lambda sound_T: soxr.resample(sound_T, _MUSIC_RATE, SAMPLE_RATE, quality="HQ"),
        "torchaudio's default": lambda sound_T: _resampler(_MUSIC_RATE)(torch.from_numpy(sound_T)).numpy(),
    }
    inside = slice(SAMPLE_RATE // 10, -SAMPLE_RATE // 10)  # a filter has no past at the ends
    kept, stopped = (20.0, 6_800.0), (9_200.0, 22_000.0)
    print("\nResampling 44.1 kHz to 16 kHz: power relative to the sweep's")
    for name, resample in sides.items():
        expected = _sweep(kept, SAMPLE_RATE)
        error_T = resample(_sweep(kept, _MUSIC_RATE).astype(np.float32)).astype(np.float64) - expected
        alias_T = resample(_sweep(stopped, _MUSIC_RATE).astype(np.float32)).astype(np.float64)
        print(
            f"  {name:<24} error from {kept[0]:.0f} to {kept[1]:.0f} Hz {_decibels(error_T[inside]):6.1f} dB,"
            f" left of {stopped[0]:.0f} to {stopped[1]:.0f} Hz {_decibels(alias_T[inside]):6.1f} dB"
        )


def _sweep(band_hz: tuple[float, float], rate: int, seconds: float = 8.0) -> np.ndarray:
    time_s = np.arange(int(seconds * rate)) / rate
    low, high = band_hz
    return np.sin(2 * np.pi * (low * time_s + (high - low) / (2 * seconds) * time_s**2))


def _decibels(sound_T: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(sound_T**2) / 0.5))


if __name__ == "__main__":
    torch.set_num_threads(1)
    compare_audio(budget_s=60)
