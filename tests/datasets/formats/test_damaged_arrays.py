"""Damaged and hostile arrays of numpy, alone and in archives."""

import io
import struct
import zipfile

import numpy as np
import pytest

EVENTS = [(3, 4, 10, 1), (5, 6, 12, 0), (7, 8, 15, 1)]


def npy(header, data=b"", version=1):
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + data


def told(shape="(1, 4)", descr="'<i8'", order="False"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()


@pytest.mark.parametrize("version", [1, 2])
def test_npy_headers_of_both_versions_and_of_python_2(read, version):
    values = np.array([[9, 3, 4, 1]])
    assert read(npy(told(), values.tobytes(), version), ".npy")[0] == [(3, 4, 9, 1)]
    assert read(npy(told("(1L, 4L)"), values.tobytes(), version), ".npy")[0] == [(3, 4, 9, 1)]


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{}",
        b"(" * 5000,
        b"__import__('os').abort()",
        told(descr="'<q9'"),
        told(descr="'|V0'").replace(b"|V0", b"\\d"),
        told("[1, 4]"),
        told("(1.0, 4)"),
        told("0(1, 4)"),
        b" " * 20_000,
    ],
    ids=lambda header: header[:30],
)
def test_npy_headers_that_are_none(refused, header):
    reason, offset = refused(npy(header, bytes(32)), ".npy")
    assert reason.startswith("no header of a .npy: ")
    assert offset == 0


@pytest.mark.parametrize(
    "header",
    [
        told("(2, 4)"),
        told(f"({1 << 40}, 4)"),
        told(f"({1 << 70}, 4)"),
        told("(0x" + "f" * 5000 + ", 4)"),  # of which Python shows no decimals
        told("(-1, 4)"),
        told("(-1, -4)"),
        told("(-5,)"),
        told(f"(0, {1 << 70})"),
        told("(" + "1, " * 70 + ")"),
        told(descr="'|V0'"),
        told(descr="'<U1000000'"),
        told("(1,)", descr="('<i8', (3,))"),
        told("(1,)", descr="[]"),
    ],
    ids=lambda header: header[10:60],
)
def test_npy_shapes_that_its_bytes_do_not_have(refused, header):
    data = npy(header, bytes(32))
    reason, offset = refused(data, ".npy")
    assert offset == (None if "not four columns" in reason else 0 if "no header" in reason else len(data) - 32)


def test_npy_of_other_numpys_versions(refused):
    assert refused(npy(told(), bytes(32), 3), ".npy")[0].startswith("no header of a .npy: ")
    assert refused(npy(told(), bytes(32), 9), ".npy")[0].startswith("no header of a .npy: ")


def test_npy_of_recordings_is_not_one(write, refused):
    boxed = np.empty(2, dtype=object)
    boxed[:] = [write.table(EVENTS), write.table(EVENTS[:1])]
    assert refused(write.npy(boxed, allow_pickle=True), ".npy") == ("2 arrays, not the events of one recording", None)


def test_names_with_line_ends_make_no_second_line(write, refused):
    assert refused(write.npy(np.zeros(2, [("a\nb", "i4")])), ".npy")[0].endswith("among its arrays (a b)")
    members = {"x\n y": [1], "a\u2028b": [2]}
    assert refused(write.npz(**members), ".npz")[0].endswith("among its arrays (a b, x y)")
    assert refused(write.h5({"a\nb": [1], "c" * 500: [2]}), ".h5")[0].startswith(
        "no x or xs or x_pos among its arrays (a b"
    )
    assert refused(zipped({"x\n y.npy": b"none"}), ".npz")[0].startswith("x y.npy: no header of a .npy: ")


# archives


def zipped(members, **options):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def test_npz_archives_that_are_none(write, refused):
    good = write.npz(np.savez, events=write.table(EVENTS))
    assert refused(good[:-30], ".npz") == ("a damaged archive: File is not a zip file", None)
    flipped = bytearray(good)
    flipped[good.index(b"NUMPY") + 150] ^= 1
    assert refused(bytes(flipped), ".npz") == ("a damaged archive: Bad CRC-32 for file 'events.npy'", None)
    locked = bytearray(good)
    locked[good.rindex(b"PK\1\2") + 8] |= 1
    assert refused(bytes(locked), ".npz")[0].startswith("a damaged archive: ")
    assert refused(zipped({"readme.txt": b"text"}), ".npz") == ("empty: no array", None)
    assert refused(zipped({}), ".npz") == ("empty: no array", None)


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_npz_of_other_compression_is_not_unpacked(write, refused, kind):
    data = zipped({"a.txt": b"", "events.npy": write.npy(write.table(EVENTS))}, compression=kind)
    assert refused(data, ".npz") == ("compressed as numpy compresses none", data.index(b"PK\3\4", 4))


def test_npz_of_objects_is_refused(write, refused):
    boxed = np.empty(1, dtype=object)
    boxed[0] = write.table(EVENTS)
    assert refused(write.npz(np.savez, a=boxed), ".npz") == ("a.npy is of objects", 0)
