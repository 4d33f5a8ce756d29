"""What a shard holds, read from its headers: as tarfile reads them, and up to the place where it is cut."""

from __future__ import annotations

import contextlib
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectranet.data.index.headers import Damage, Kind, headers
from spectranet.data.index.scan import scan_shard
from spectranet.data.index.shard import ShardIndex
from spectranet.data.stores.store import stat

CONTENT = b"x" * 600
MEMBER = 512 + 1024
"""Bytes of a member with that content."""
SAMPLE = 2 * MEMBER


def write(path: Path, names: list[str], content: bytes = CONTENT) -> Path:
    with tarfile.open(path, "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def scan(path: Path, **options) -> ShardIndex:
    return scan_shard(str(path), stat(str(path)), **options)


def described(index: ShardIndex) -> dict[str, list[str]]:
    return {index.key(sample): list(index.members(sample)) for sample in range(len(index))}


# ---------------------------------------------------------------------------------------- headers

words = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=60)
names = st.lists(words.filter(lambda word: word not in (".", "..")), min_size=1, max_size=5).map("/".join)
kinds = st.sampled_from(
    [tarfile.REGTYPE] * 5 + [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
)
members = st.lists(st.tuples(names, kinds, st.binary(max_size=1500)), max_size=8)


@settings(max_examples=150, deadline=None)
@given(members, st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
def test_members_are_those_that_tarfile_finds(members, form):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, "elsewhere" * 20, 0
            if kind == tarfile.REGTYPE:
                info.size = len(content)
            with contextlib.suppress(ValueError):  # too long for ustar
                tar.addfile(info, io.BytesIO(content))
    length = file.tell()
    file.seek(0)
    with tarfile.open(fileobj=file, mode="r:") as tar:
        expected = [
            (
                each.name,
                Kind.FILE if each.isreg() else Kind.FOLDER if each.isdir() else Kind.OTHER,
                each.offset_data,
            )
            for each in tar
        ]
        sizes = [each.size for each in tar]

    found = list(headers(io.BufferedReader(file), length))

    assert [(each.name.decode().rstrip("/"), each.kind, each.offset) for each in found] == [
        (name.rstrip("/"), kind, offset) for name, kind, offset in expected
    ]
    assert [each.size for each in found] == sizes


def test_sizes_beyond_eight_gigabytes_are_written_in_two_ways(tmp_path):
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        info = tarfile.TarInfo("big.bin")
        info.size = 9 << 30
        path = tmp_path / "big.tar"
        path.write_bytes(info.tobuf(form))
        length = path.stat().st_size + info.size + 1024
        with open(path, "rb") as file:
            found = headers(file, length)
            assert next(found).size == 9 << 30
            with pytest.raises(Damage):
                next(found)


def test_sparse_files_are_no_samples_and_what_follows_them_is_found(tmp_path):
    """As GNU tar writes them, with more blocks of header than one."""
    sparse = bytearray(tarfile.TarInfo("sparse.bin").tobuf(tarfile.GNU_FORMAT))
    sparse[156:157], sparse[482:483] = b"S", b"\1"
    sparse[148:156] = b" " * 8
    sparse[148:156] = b"%06o\0 " % sum(sparse)
    path = write(tmp_path / "s.tar", ["a.jpg"])
    path.write_bytes(bytes(sparse) + bytes(512) + path.read_bytes())

    index = scan(path)

    assert described(index) == {"a": ["jpg"]}
    assert index.refused == {"link, device or sparse member": 1}


def test_a_size_that_points_backwards_is_damage_and_no_endless_loop(tmp_path):
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={"size": "-1024"}) as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"))
    assert "is no tar archive" in scan(path).broken


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize(("size", "what"), [(2**59, "cut short"), (2**62, "damaged"), (2**80, "damaged")])
def test_a_size_that_no_file_can_have_is_damage_of_the_shard(tmp_path, form, size, what):
    info = tarfile.TarInfo("b.jpg")
    info.size = size
    header = info.tobuf(form)
    path = write(tmp_path / "s.tar", ["a.jpg"])
    path.write_bytes(path.read_bytes()[:MEMBER] + header + bytes(1024))
    index = scan(path)
    assert described(index) == {"a": ["jpg"]}
    place = path.stat().st_size if what == "cut short" else MEMBER
    assert index.broken == f"{what} at byte {place}; 1 sample before it is used"


# ------------------------------------------------------------------------------------------- cuts


def test_a_shard_cut_anywhere_gives_the_samples_that_are_whole(tmp_path):
    names = [f"{i}.{extension}" for i in range(3) for extension in ("jpg", "txt")]
    whole = write(tmp_path / "whole.tar", names).read_bytes()
    short = tmp_path / "short.tar"
    for cut in range(0, SAMPLE * 3 + 512, 100):
        short.write_bytes(whole[:cut])
        index = scan(short)
        # Of the last member the zeros behind its content may be missing.
        samples = {str(i): ["jpg", "txt"] for i in range(3) if cut >= SAMPLE * i + MEMBER + 512 + 600}
        if 512 + 600 <= cut < MEMBER + 512:  # nothing says yet that a txt belongs to it
            samples = {"0": ["jpg"]}
        assert described(index) == samples, cut
        assert index.broken, cut
    short.write_bytes(whole[: SAMPLE * 3 + 512])
    assert (len(scan(short)), scan(short).broken) == (3, "")


def test_what_is_said_of_a_shard_that_is_cut_or_damaged_names_the_place(tmp_path):
    path = write(tmp_path / "s.tar", [f"{i}.{e}" for i in range(3) for e in ("jpg", "txt")])
    content = path.read_bytes()
    path.write_bytes(content[:7000])
    assert scan(path).broken == "cut short at byte 7000; 2 samples before it are used"
    path.write_bytes(content[: 3 * MEMBER])
    assert scan(path).broken == "cut short at byte 4608; 1 sample before it is used"
    path.write_bytes(content[:SAMPLE] + b"\xff" * 64 + content[SAMPLE + 64 :])
    assert scan(path).broken == "damaged at byte 3072; 1 sample before it is used"


def test_a_cut_sample_goes_also_where_its_other_members_are_far_away(tmp_path):
    names = [*(f"{i}.jpg" for i in range(3)), *(f"{i}.txt" for i in range(3))]
    path = write(tmp_path / "s.tar", names)
    path.write_bytes(path.read_bytes()[: 4 * MEMBER + 700])
    assert described(scan(path)) == {"0": ["jpg", "txt"], "2": ["jpg"]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"no tar at all, but a letter " * 100, "is no tar archive"),
        (b"\x1f\x8b\x08\0" + bytes(2000), "is compressed (gzip)"),
        (b"\x28\xb5\x2f\xfd" + bytes(2000), "is compressed (zstd)"),
    ],
)
def test_what_is_no_tar_has_no_sample_and_is_said_to_be_none(tmp_path, content, said):
    path = tmp_path / "s.tar"
    path.write_bytes(content)
    index = scan(path)
    assert len(index) == 0
    assert index.broken.startswith(said)


# ------------------------------------------------------------------------------------------ names


def test_names_that_are_not_utf8_have_a_key_that_can_be_printed(tmp_path):
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        tar.addfile(tarfile.TarInfo("größe.jpg"))
        tar.addfile(tarfile.TarInfo("größe.txt"))
    assert described(scan(path)) == {"gr\\xf6\\xdfe": ["jpg", "txt"]}


def test_fields_of_a_key_that_comes_again_are_merged_and_a_second_of_a_name_is_refused(tmp_path):
    path = write(tmp_path / "s.tar", ["a.jpg", "b.jpg", "a.TXT", "a.txt", "b.jpg", "./a.json"])
    index = scan(path)
    assert described(index) == {"a": ["jpg", "json", "txt"], "b": ["jpg"]}
    assert index.refused == {"duplicate member": 2}
    assert index.members(0)["txt"].offset == 2 * MEMBER + 512, "the first of the two"


def test_names_whose_extensions_are_none_are_refused_by_a_reason_and_hide_no_others(tmp_path):
    good = [f"{i}.{kind}" for i in range(3) for kind in ("jpg", "TXT", "txt.gz")]
    index = scan(
        write(tmp_path / "s.tar", good + [f"frame_0.{i:06}.jpg" for i in range(3000)] + ["3.jpg"], b"")
    )
    assert index.key(3) == "frame_0" and len(index.members(3)) == 997
    assert {key: fields for key, fields in described(index).items() if key != "frame_0"} == {
        "0": ["jpg", "txt", "txt.gz"],
        "1": ["jpg", "txt", "txt.gz"],
        "2": ["jpg", "txt", "txt.gz"],
        "3": ["jpg"],
    }
    assert index.refused == {
        "extension beyond the 1,000 that a shard may have (it begins at the first dot)": 2003
    }
