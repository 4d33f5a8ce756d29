"""From the bytes of a file to the arrays of a batch.

A series is float32 (T, C): T time steps of C channels. `patch` steps make a token.

Shape suffixes: B samples, N tokens, P coordinates of a position, T time steps, C channels,
K = patch * C numbers of a token.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from spectranet import DecodeError, Values
from spectranet_inertial.config import InertialConfig

__all__ = [
    "build_transform",
    "collate",
    "decode",
    "describe",
    "example",
    "fingerprint",
    "largest",
    "sample_mask",
]

MOST_BYTES = 64 << 20
MOST_NUMBERS = 16 << 20
"""Limits of one file: data from elsewhere must not be able to take all memory."""

_NPY = b"\x93NUMPY"
_NPY_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_SMALLEST_SPREAD = 1e-6


# -------------------------------------------------------------------------------------------- decode


def decode(data: bytes) -> np.ndarray:
    """An NPY or CSV file to float32 (T, C). Read your own format here.

    Raises:
        DecodeError: it is broken, too large, or not a table of finite numbers. A sample that raises it is
            counted and replaced; any other exception is taken for a fault of this program and ends the run.
    """
    if len(data) > MOST_BYTES:
        raise DecodeError(f"{len(data)} bytes are over the limit of {MOST_BYTES}")
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            numbers = _read_npy(data) if data.startswith(_NPY) else _read_csv(data)
            series_TC = numbers.astype(np.float32)
    except ValueError as error:
        raise DecodeError(f"not readable as a series: {error}") from error
    if series_TC.size == 0:
        raise DecodeError("a series without a single number")
    # If your sensor has gaps, fill them here.
    if not np.isfinite(series_TC).all():
        raise DecodeError("a series with numbers that are not finite")
    return series_TC


def _read_npy(data: bytes) -> np.ndarray:
    """(T, C), or (T,) as one channel. The header is checked before anything of its size is made."""
    file = io.BytesIO(data)
    try:
        header = _NPY_HEADERS[np.lib.format.read_magic(file)]
        shape, by_column, dtype = header(file)
    except Exception as error:  # numpy reads it as a piece of Python, which fails in many ways
        raise ValueError(f"broken NPY header: {error}") from error
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise ValueError(f"numbers of type {dtype}")
    if len(shape) not in (1, 2) or min(shape) < 0:
        raise ValueError(f"shape {shape}, not (time, channels)")
    count = shape[0] * (shape[1] if len(shape) == 2 else 1)
    if count > MOST_NUMBERS:
        raise ValueError(f"{count} numbers are over the limit of {MOST_NUMBERS}")
    if len(data) - file.tell() != count * dtype.itemsize:
        raise ValueError(f"{len(data) - file.tell()} bytes where {count * dtype.itemsize} are declared")
    numbers = np.frombuffer(data, dtype=dtype, count=count, offset=file.tell())
    return numbers.reshape(shape, order="F" if by_column else "C").reshape(shape[0], -1)


def _read_csv(data: bytes) -> np.ndarray:
    """(T, C) of comma-separated numbers, a line a time step; a first line without numbers is a header."""
    lines = data.decode("utf-8-sig").splitlines()
    if lines and not _is_number(lines[0].partition(",")[0]):
        lines = lines[1:]
    if not any(line.strip() for line in lines):
        raise ValueError("no numbers")
    return np.loadtxt(lines, delimiter=",", dtype=np.float64, comments=None, ndmin=2)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# ----------------------------------------------------------------------------------------- transform


@dataclass(frozen=True)
class Transform:
    """Crop, normalise, add noise in training, and cut into patches.

    In evaluation nothing is random. All chance comes from ``rng``, so that a run can be repeated.
    """

    config: InertialConfig
    train: bool

    def __call__(self, series_TC: np.ndarray, rng: np.random.Generator) -> Values:
        """A series to ``patches`` (N, K), and where and when each token is.

        Raises:
            DecodeError: it has another number of channels than the options say.
        """
        config = self.config
        if series_TC.shape[1] != config.channels:
            found = series_TC.shape[1]
            raise DecodeError(f"{found} channels, not {config.channels}; see modalities.inertial.channels")
        series_TC = self._normalise(self._crop(series_TC, rng))
        if self.train and config.noise > 0:
            series_TC = series_TC + config.noise * rng.standard_normal(series_TC.shape, dtype=np.float32)
        # The last patch is filled up with the last step.
        series_TC = np.pad(series_TC, ((0, -len(series_TC) % config.patch), (0, 0)), mode="edge")
        token_N = np.arange(len(series_TC) // config.patch, dtype=np.int32)
        return Values(
            data={"patches": series_TC.reshape(len(token_N), -1)},
            position_NP=token_N[:, None],
            segment_N=token_N // config.segment,
        )

    def _crop(self, series_TC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        surplus = len(series_TC) - self.config.max_steps
        if surplus <= 0:
            return series_TC
        start = int(rng.integers(surplus + 1)) if self.train else surplus // 2
        return series_TC[start : start + self.config.max_steps]

    @staticmethod
    def _normalise(series_TC: np.ndarray) -> np.ndarray:
        """To zero mean and unit variance over all channels, which keeps how they compare.

        Where channels have units of their own, pass ``axis=0`` to mean and std.
        """
        centred_TC = series_TC - series_TC.mean(dtype=np.float64)
        spread = max(float(centred_TC.std()), _SMALLEST_SPREAD)
        return np.asarray(centred_TC / spread, dtype=np.float32)


def build_transform(config: InertialConfig, train: bool) -> Transform:
    return Transform(config, train)


def collate(samples: list[Mapping[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """``patches`` (B, N, K), shorter series filled up with zeros, which nobody may look at."""
    longest = max(len(sample["patches"]) for sample in samples)
    patches_BNK = np.zeros((len(samples), longest, samples[0]["patches"].shape[1]), dtype=np.float32)
    for row_NK, sample in zip(patches_BNK, samples, strict=True):
        row_NK[: len(sample["patches"])] = sample["patches"]
    return {"patches": torch.from_numpy(patches_BNK)}


def sample_mask(values: Values, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Bool (N,), True at tokens to hide, each as likely as any other; one always stays visible.

    In smooth signals neighbours give a token away: hide whole spans there.
    """
    tokens = len(values.segment_N)
    hidden_N = np.zeros(tokens, dtype=bool)
    hidden_N[rng.permutation(tokens)[: min(round(ratio * tokens), tokens - 1)]] = True
    return hidden_N


# -------------------------------------------------------------------- for tests, curation and planning


def example(rng: np.random.Generator) -> bytes:
    """An NPY file of 40 to 120 steps of a random walk, for tests and documentation."""
    steps_TC = rng.standard_normal((int(rng.integers(40, 121)), InertialConfig().channels))
    file = io.BytesIO()
    np.save(file, steps_TC.cumsum(axis=0).astype(np.float32), allow_pickle=False)
    return file.getvalue()


def fingerprint(series_TC: np.ndarray) -> int:
    """64 bits of which near duplicates differ in few: on which side of 64 fixed planes the series lies.

    It is brought to 32 time steps first (Charikar 2002, "Similarity Estimation Techniques").
    """
    moment = np.linspace(0, len(series_TC) - 1, 32)
    steps = np.arange(len(series_TC))
    picture = np.concatenate([np.interp(moment, steps, channel) for channel in series_TC.T])
    planes = np.random.RandomState(1).standard_normal((64, len(picture)))
    bits = planes @ (picture - picture.mean()) > 0
    return sum(1 << place for place, bit in enumerate(bits) if bit)


def describe(config: InertialConfig, series_TC: np.ndarray) -> Mapping[str, float]:
    """What `spectranet data inspect` draws distributions of."""
    return {
        "length_steps": float(len(series_TC)),
        "cropped_to_max_steps_share": float(len(series_TC) > config.max_steps),
    }


def largest(config: InertialConfig) -> Values:
    """The largest sample there can be, which `spectranet plan` reckons with."""
    silence_TC = np.zeros((config.max_steps, config.channels), dtype=np.float32)
    return Transform(config, train=False)(silence_TC, np.random.default_rng(0))
