"""NPY: plain and structured arrays, and headers that lie."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from spectranet import DecodeError
from spectranet_inertial import npy_file
from spectranet_inertial.recording import decode

SIGNAL_TC = np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32)


def saved(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_plain_arrays_keep_their_numbers_and_say_no_rate(dtype: str, order: str) -> None:
    read = decode(saved(np.array(SIGNAL_TC, dtype=dtype, order=order)))

    np.testing.assert_array_equal(read.signal_TC, SIGNAL_TC)
    assert read.time_T is None and read.rate_hz(unsaid_hz=64) == 64


def test_structured_arrays_have_named_fields_units_and_time() -> None:
    fields = ["gyr_x", "gyr_y", "gyr_z", "acc_x_g", "acc_y_g", "acc_z_g", "time_ms"]
    array = np.zeros(20, dtype=[(name, "<f4") for name in fields] + [("label", "<i2")])
    for place, name in enumerate(fields[3:6]):
        array[name] = SIGNAL_TC[:, place]
    array["time_ms"] = np.arange(20) * 10

    read = decode(saved(array))

    np.testing.assert_allclose(read.signal_TC[:, :3], SIGNAL_TC[:, :3] * 9.80665, rtol=1e-6)
    assert read.rate_hz(unsaid_hz=64) == pytest.approx(100)


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (SIGNAL_TC[:, :5], "an array of shape (20, 5); it must be (steps, 6): acc_x"),
        (SIGNAL_TC.T, "transpose it"),
        (SIGNAL_TC[0], "an array of shape (6,)"),
        (SIGNAL_TC[:1], "an array of 1 steps; there must be two"),
        (SIGNAL_TC.astype(np.int16), "an array of int16; write floats"),
        (SIGNAL_TC.astype(np.complex64), "an array of complex64; inertial data are numbers"),
        (np.zeros(4, dtype=[("acc_x", "<f4")]), "no column 'acc_y, acc_z, gyr_x, gyr_y, gyr_z'"),
        (
            np.where(np.arange(20)[:, None] == 7, np.nan, SIGNAL_TC),
            "step 7, column 'acc_x': nan is no measurement",
        ),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, told: str) -> None:
    with pytest.raises(DecodeError) as raised:
        decode(saved(array))

    assert told in str(raised.value)


def test_pickles_are_refused() -> None:
    with pytest.raises(DecodeError, match="an array of object"):
        decode(saved(np.array([[1, 2]], dtype=object), allow_pickle=True))


@pytest.mark.parametrize("cut", [3, 7, 40, 130, -1])
def test_a_file_that_is_cut_short_is_told(cut: int) -> None:
    with pytest.raises(DecodeError, match=r"NPY header is broken|promises 480 bytes|columns|neither"):
        decode(saved(SIGNAL_TC)[:cut])


def test_a_header_that_promises_much_allocates_nothing() -> None:
    lying = saved(SIGNAL_TC).replace(b"(20, 6)", b"(9" + b"0" * 9 + b", 6)")

    with pytest.raises(DecodeError, match=r"9,000,000,000 steps are over the limit|header is broken"):
        decode(lying)


def test_one_more_step_than_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npy_file, "MOST_STEPS", 19)

    with pytest.raises(DecodeError, match="20 steps are over the limit of 19"):
        decode(saved(SIGNAL_TC))
