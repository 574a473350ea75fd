"""Small files that would take all memory: refused before they do."""

import io
import zipfile

import h5py
import numpy as np
import pytest

from .test_damaged_arrays import npy, told, zipped

EVENTS = [(3, 4, 10, 1), (5, 6, 12, 0), (7, 8, 15, 1)]
MOST = 1 << 20


@pytest.fixture
def limited(monkeypatch):
    monkeypatch.setattr("quietspike.datasets.formats.content.MOST_BYTES", MOST)
    monkeypatch.setattr("quietspike.datasets.formats.content._MOST_RATIO", 4)


def test_an_archive_that_unpacks_to_too_much(write, refused, limited, little_memory):
    zeros = np.zeros(MOST // 2 - 200, np.uint8)  # two fit
    data = write.npz(x=zeros, y=zeros, t=zeros, p=zeros)
    assert refused(data, ".npz") == (f"unpacks to more than {MOST} bytes", data.index(b"t.npy") - 30)


def test_an_archive_is_unpacked_no_further_than_its_arrays_go(write, read, refused, little_memory):
    """What is announced is known before it is unpacked, and what is more than that is left alone."""
    zeros = bytes(100 << 20)
    none = zipped({"x.npy": zeros}, compression=zipfile.ZIP_DEFLATED)
    little = zipped({"x.npy": npy(told(f"({1 << 30}, 4)"), zeros[:100])}, compression=zipfile.ZIP_DEFLATED)
    much = zipped({"x.npy": npy(told(f"({1 << 24}, 4)"), zeros[:100])}, compression=zipfile.ZIP_DEFLATED)
    behind = zipped({"x.npy": write.npy(write.table(EVENTS)) + zeros}, compression=zipfile.ZIP_DEFLATED)
    with little_memory():
        assert refused(none, ".npz")[0].startswith("x.npy: no header of a .npy: ")
        assert refused(little, ".npz") == (f"unpacks to more than {1 << 31} bytes", 0)
        reason, offset = refused(much, ".npz")
        assert read(behind, ".npz")[0] == EVENTS
    start = len(npy(told(f"({1 << 24}, 4)")))
    bytes_told = start + (1 << 29)
    assert reason == f"x.npy: not the array that its header tells of: {bytes_told} bytes, and {start + 100} are there"
    assert offset == start


each_packed = pytest.mark.parametrize("kind", [1, 3])


def bulky(write, size, kind, identifier=b"EVTS"):
    """A packet of so many bytes more than the size in front of them tells of, and of no event."""
    return write.packet4(write.flatbuffer(identifier, None).ljust(size, b"\0"), kind)


@each_packed
def test_packets_that_unpack_to_too_much(write, refused, limited, little_memory, kind):
    start = len(write.aedat4([], kind))
    packet = bulky(write, MOST // 2, kind)
    data = write.aedat4(EVENTS, kind, packets=[packet] * 3)
    assert refused(data, ".aedat4") == (f"unpacks to more than {MOST} bytes", start + 2 * len(packet))
    data = write.aedat4(EVENTS, kind, packets=[bulky(write, 100 << 20, kind)])
    with little_memory():
        assert refused(data, ".aedat4") == (f"unpacks to more than {max(MOST, 4 * len(data))} bytes", start)


@each_packed
def test_packets_of_images_are_not_unpacked(write, read, limited, little_memory, kind):
    data = write.aedat4(EVENTS, kind, packets=[bulky(write, 10 << 20, kind, b"FRME")] * 9)
    with little_memory():
        assert read(data, ".aedat4")[0] == EVENTS


def test_stored_packets_may_be_of_any_length(write, read, monkeypatch):
    monkeypatch.setattr("quietspike.datasets.formats.content.MOST_BYTES", 1000)
    assert len(read(write.aedat4(EVENTS * 1000, 0, per_packet=100), ".aedat4")[0]) == 3000


def test_a_large_file_may_unpack_to_more_than_a_small_one(write, read, refused, monkeypatch):
    monkeypatch.setattr("quietspike.datasets.formats.content.MOST_BYTES", 1000)
    events = [(k * 7919 % 346, k * 104_729 % 260, k * k % 99_991, k % 2) for k in range(2000)]
    for kind in (1, 3):
        data = write.aedat4(events, kind, per_packet=200)
        assert read(data, ".aedat4")[0] == events
    for suffix, data in {
        ".npz": write.npz(events=write.table(events)),
        ".h5": write.h5(write.named(events), compression="gzip"),
    }.items():
        assert read(data, suffix)[0] == events


def announced(shape, dtype="u1", **options):
    """Data sets of which nothing was ever written."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name in "xytp":
            file.create_dataset(name, shape, dtype, **options)
    return stream.getvalue()


@pytest.mark.parametrize("options", [{}, {"chunks": (1 << 20,)}, {"chunks": True, "compression": "gzip"}], ids=str)
def test_h5_columns_that_announce_too_much(refused, little_memory, options):
    for number, reason in (
        (1 << 30, f"{1 << 32} bytes, more than {1 << 31}"),
        (1 << 28, "/x announces more than it holds"),
    ):
        data = announced((number,), **options)
        with little_memory():
            assert refused(data, ".h5") == (reason, None)


def test_h5_columns_that_unpack_to_too_much(write, refused, limited):
    packed = write.h5(dict.fromkeys("xytp", np.zeros(MOST // 2, np.uint8)), compression="gzip")
    assert len(packed) < MOST // 4
    assert refused(packed, ".h5") == (f"{2 * MOST} bytes, more than {MOST}", None)


def test_npy_that_announces_too_much(refused, little_memory):
    with little_memory():
        assert refused(npy(told(f"({1 << 32}, 4)"), bytes(32)), ".npy")[0].startswith("not the array that its header")
