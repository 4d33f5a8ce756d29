"""What the contract cannot know: the promises of this modality alone. Write yours here."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from spectranet import DecodeError
from spectranet_inertial.config import InertialConfig, problems
from spectranet_inertial.samples import main
from spectranet_inertial.signal import build_transform, decode, fingerprint


def npy(numbers: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, numbers)
    return file.getvalue()


def test_the_same_numbers_decode_alike_from_npy_and_csv() -> None:
    csv = b"a,b\n1,2\n3.5,-4\n"

    assert decode(csv).tolist() == decode(npy(np.array([[1, 2], [3.5, -4]]))).tolist() == [[1, 2], [3.5, -4]]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"time,heat\n",
        b"1,2\n3\n",
        b"1,nan\n",
        b"\xff\xfe\x00",
        npy(np.zeros((0, 4))),
        npy(np.zeros((2, 2, 2))),
        npy(np.array([["a", "b"]])),
        npy(np.array([[1e300]])),
        npy(np.zeros((8, 4)))[:-1],
    ],
)
def test_what_is_no_series_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(data)


def test_a_header_that_promises_too_much_is_refused_before_memory_is_taken() -> None:
    header = io.BytesIO()
    promised = {"descr": "<f4", "fortran_order": False, "shape": (10**12, 4)}
    np.lib.format.write_array_header_1_0(header, promised)

    with pytest.raises(DecodeError, match="limit"):
        decode(header.getvalue())


def test_a_series_of_other_channels_is_told_which_option_to_set() -> None:
    transform = build_transform(InertialConfig(channels=3), train=False)

    with pytest.raises(DecodeError, match="not 3; see modalities"):
        transform(np.zeros((10, 2), dtype=np.float32), np.random.default_rng(0))


def test_settings_that_cannot_work_are_told() -> None:
    assert list(problems(InertialConfig())) == []
    assert len(list(problems(InertialConfig(width=30, heads=4, patch=0)))) == 2


def test_near_duplicates_have_near_fingerprints() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 100, 4)).cumsum(axis=1)
    near = one + 0.01 * rng.standard_normal(one.shape)

    assert (fingerprint(one) ^ fingerprint(near)).bit_count() <= 4
    assert (fingerprint(one) ^ fingerprint(other)).bit_count() >= 12


def test_samples_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        main([str(tmp_path / folder), "--count", "5"])

    one, two = (sorted((tmp_path / folder).rglob("*.*")) for folder in ("one", "two"))
    assert len(one) > 5
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
