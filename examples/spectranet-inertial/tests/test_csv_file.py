"""CSV: what is read, and what a broken file is answered with: the line, the column and what is wrong
there."""

from __future__ import annotations

import numpy as np
import pytest

from spectranet import DecodeError
from spectranet_inertial import csv_file, recording
from spectranet_inertial.csv_file import read_csv

HEADER = "time,acc_x,acc_y,acc_z,gyr_x,gyr_y,gyr_z"
ROWS = (
    "0.00,0.1,0.2,9.8,0.01,0.02,0.03",
    "0.02,0.1,0.2,9.7,0.01,0.02,0.04",
    "0.04,0.1,0.3,9.9,0.01,0.02,0.05",
)


def file(*rows: str, header: str = HEADER) -> bytes:
    return "\n".join([header, *(rows or ROWS), ""]).encode()


def test_columns_stand_in_si_units_and_time_starts_at_zero() -> None:
    read = read_csv(file(*(f"1{row}" for row in ROWS)))

    assert read.signal_TC.dtype == np.float32
    np.testing.assert_allclose(read.signal_TC[1], [0.1, 0.2, 9.7, 0.01, 0.02, 0.04], rtol=1e-6)
    np.testing.assert_allclose(read.time_T, [0, 0.02, 0.04], atol=1e-12)
    assert read.rate_hz(unsaid_hz=7) == pytest.approx(50)


@pytest.mark.parametrize(
    "header",
    [
        "time,acc_x,acc_y,acc_z,gyr_x,gyr_y,gyr_z",
        "Timestamp,AccX,AccY,AccZ,GyrX,GyrY,GyrZ",
        "t,accel_x,accel_y,accel_z,gyro_x,gyro_y,gyro_z",
        "time_s,ax,ay,az,gx,gy,gz",
        "Time (s),Acceleration x (m/s^2),Acceleration y (m/s^2),Acceleration z (m/s^2),Gyroscope x (rad/s),"
        "Gyroscope y (rad/s),Gyroscope z (rad/s)",
        "seconds,accelerometer.x,accelerometer.y,accelerometer.z,gyroscope.x,gyroscope.y,gyroscope.z",
    ],
)
def test_common_spellings_are_known(header: str) -> None:
    np.testing.assert_array_equal(read_csv(file(header=header)).signal_TC, read_csv(file()).signal_TC)


def test_columns_may_stand_in_any_order_among_others() -> None:
    header = "label,gyr_z,gyr_y,gyr_x,acc_z,acc_y,acc_x,time,heart_rate"
    rows = [",".join(["walk", *reversed(row.split(",")), "61"]) for row in ROWS]

    np.testing.assert_array_equal(read_csv(file(*rows, header=header)).signal_TC, read_csv(file()).signal_TC)


def test_units_of_the_header_are_converted() -> None:
    header = "time_ms,acc_x [g],acc_y [mg],acc_z_g,gyr_x (deg/s),gyr_y_dps,gyr_z [rad/s]"

    read = read_csv(file("0,1,1000,-1,180,90,1", "10,1,1000,-1,180,90,1", header=header))

    np.testing.assert_allclose(
        read.signal_TC[0], [9.80665, 9.80665, -9.80665, np.pi, np.pi / 2, 1], rtol=1e-6
    )
    assert read.rate_hz(unsaid_hz=7) == pytest.approx(100)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_line_ends_quotes_blank_lines_and_a_byte_order_mark(separator: str, end: str) -> None:
    quoted = [ROWS[0].replace("9.8", '"9.8"'), "", *ROWS[1:]]
    text = end.join([HEADER, *quoted, ""]).replace(",", separator)

    read = read_csv(b"\xef\xbb\xbf" + text.encode())

    np.testing.assert_array_equal(read.signal_TC, read_csv(file()).signal_TC)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ((ROWS[0], ROWS[1].replace("9.7", "n/a")), "line 3, column 'acc_z': 'n/a' is no number"),
        ((ROWS[0], "", ROWS[1].replace("9.7", "")), "line 4, column 'acc_z': '' is no number"),
        ((ROWS[0], ROWS[1].replace("9.7", "nan")), "line 3, column 'acc_z': nan is no measurement"),
        ((ROWS[0], ROWS[1].replace("9.7", "inf")), "line 3, column 'acc_z': inf is no measurement"),
        ((ROWS[0], ROWS[1].replace("0.02,", "nan,", 1)), "line 3, column 'time': nan is no time"),
        ((ROWS[0], "0.02,0.1,0.2"), "line 3: it has 3 columns, and 'acc_z' is column 4"),
        ((*ROWS, HEADER), "line 5, column 'time': 'time' is no number"),
        ((ROWS[1], "", ROWS[0]), "line 4, column 'time': 0 s does not come after 0.02 s"),
        ((ROWS[0], ROWS[0]), "line 3, column 'time': 0 s does not come after 0 s"),
        (
            (*ROWS, ROWS[0].replace("0.00", "3.04")),
            "line 5, column 'time': a gap of 3 s, over the limit of 1 s",
        ),
        (
            (ROWS[0], ROWS[1].replace("9.7", "9700")),
            "line 3, column 'acc_z': 9700 m/s² is over the limit of 5000",
        ),
        (
            (ROWS[0], ROWS[1].replace("0.04", "999")),
            "line 3, column 'gyr_z': 999 rad/s is over the limit of 200",
        ),
        (
            (ROWS[0], ROWS[1].replace("0.02,", "1e-9,", 1)),
            "over the limit of 20000; is the unit of time right?",
        ),
        ((ROWS[0],), "it has 1 lines of numbers; a sampling rate needs two"),
    ],
)
def test_a_broken_line_is_named(rows: tuple[str, ...], told: str) -> None:
    with pytest.raises(DecodeError) as raised:
        read_csv(file(*rows))

    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (HEADER.replace("gyr_y", "gyr_q"), "line 1: no column 'gyr_y'; the header has 'time', 'acc_x'"),
        (HEADER.replace("gyr_y", "gyr_x"), "line 1: columns 5 and 6 are both 'gyr_x'"),
        (
            HEADER.replace("acc_y", "acc_y [ft/s2]"),
            "line 1: column 3 'acc_y [ft/s2]': unknown unit 'ft/s2'; known: m/s2",
        ),
        (
            ROWS[0],
            "line 1: no column 'time, acc_x, acc_y, acc_z, gyr_x, gyr_y, gyr_z'; the header has '0.00'",
        ),
        ("x" * 5000, "line 1: a header of 5,000 characters; is this a CSV file?"),
    ],
)
def test_a_broken_header_says_what_it_has(header: str, told: str) -> None:
    with pytest.raises(DecodeError) as raised:
        read_csv(file(header=header))

    assert told in str(raised.value)


def test_what_is_no_text_is_told_by_its_line() -> None:
    with pytest.raises(DecodeError, match="line 3: neither an NPY file nor UTF-8 text"):
        read_csv(file(ROWS[0]) + b"\xff\xfe\n")


def test_too_many_lines_are_refused_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "MOST_STEPS", 3)
    monkeypatch.setattr(np, "loadtxt", lambda *_, **__: pytest.fail("it was read"))

    with pytest.raises(DecodeError, match="5 lines are over the limit of 3"):
        read_csv(file(*ROWS, ROWS[0]))


def test_an_empty_file_is_told() -> None:
    with pytest.raises(DecodeError, match="empty"):
        recording.decode(b"")
