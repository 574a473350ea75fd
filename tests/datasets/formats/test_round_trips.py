"""What a writer of each format writes reads back; another library, where one reads the format, reads the same."""

import aedat
import numpy as np
import pytest
from expelliarmus import Wizard
from hypothesis import given, settings
from hypothesis import strategies as st
from tonic.datasets import NMNIST as TONIC_NMNIST
from tonic.io import get_aer_events_from_file, read_mnist_file

SMALL = settings(deadline=None, max_examples=25)
SHORT, LONG = (-(1 << 15), (1 << 15) - 1), (-(1 << 63), (1 << 63) - 1)
NAMES = ("x", "y", "t", "p")

# by format: the suffix, the writer, the least and most of x, y and t, and the size that the file tells
FORMATS = {
    "aedat2 dvs128": (".aedat", lambda write, e: write.aedat2(e), (0, 127), (0, 127), (0, 2**31 - 1), (128, 128)),
    "aedat2 davis346": (
        ".aedat",
        lambda write, e: write.aedat2(e, "Davis346", (346, 260)),
        (0, 345),
        (0, 259),
        (0, 2**31 - 1),
        (346, 260),
    ),
    "aedat3": (".aedat", lambda write, e: write.aedat3(e), (0, 2**15 - 1), (0, 2**15 - 1), (0, 2**62 - 1), (128, 128)),
    "bin": (".bin", lambda write, e: write.atis_bin(e), (0, 255), (0, 239), (0, 2**23 - 1), None),
    "dat 1": (".dat", lambda write, e: write.dat(e, 1), (0, 511), (0, 255), (0, 2**31 - 1), (640, 480)),
    "dat 2": (".dat", lambda write, e: write.dat(e), (0, 2**14 - 1), (0, 2**14 - 1), (0, 2**31 - 1), (640, 480)),
    "evt2": (".raw", lambda write, e: write.evt2(e), (0, 2047), (0, 2047), (0, 2**33 - 1), (640, 480)),
    "evt3": (".raw", lambda write, e: write.evt3(e), (0, 2047), (0, 2047), (0, 2**23 - 1), (1280, 720)),
    "npy table": (".npy", lambda write, e: write.npy(write.table(e)), SHORT, SHORT, LONG, None),
    "npy structured": (".npy", lambda write, e: write.npy(write.structured(e)), SHORT, SHORT, LONG, None),
    "npz": (".npz", lambda write, e: write.npz(**write.named(e)), SHORT, SHORT, LONG, None),
    "npz stored": (".npz", lambda write, e: write.npz(np.savez, events=write.table(e)), SHORT, SHORT, LONG, None),
    "h5 events": (".h5", lambda write, e: write.h5(write.named(e, "events/")), SHORT, SHORT, LONG, None),
    "h5 CD": (".hdf5", lambda write, e: write.h5({"CD/events": write.structured(e)}), SHORT, SHORT, LONG, None),
    "h5 plain": (".h5", lambda write, e: write.h5(write.named(e), compression="gzip"), SHORT, SHORT, LONG, None),
    "txt": (".txt", lambda write, e: write.text(e), SHORT, SHORT, LONG, None),
}
FORMATS |= {
    f"aedat4 {name}": (".aedat4", lambda write, e, kind=kind: write.aedat4(e, kind), SHORT, SHORT, LONG, (346, 260))
    for kind, name in enumerate(("none", "lz4", "lz4 high", "zstd", "zstd high"))
}


def events_in(*limits):
    event = st.tuples(*(st.integers(*limit) for limit in limits), st.integers(0, 1))
    return st.lists(event, min_size=1, max_size=30)


@pytest.mark.parametrize("name", FORMATS)
@SMALL
@given(data=st.data())
def test_what_is_written_reads_back(write, read, name, data):
    suffix, encode, *limits, size = FORMATS[name]
    events = data.draw(events_in(*limits))
    assert read(encode(write, events), suffix) == (events, size)


def tuples(array, names=NAMES):
    return list(zip(*(array[name].tolist() for name in names), strict=True))


def by_aedat(path):
    packets = list(aedat.Decoder(path))
    return tuples(np.concatenate([packet["events"] for packet in packets]), ("x", "y", "t", "on"))


def by_tonic2(path):
    """Pairs by tonic, decoded by hand as iniVation's page has it; see aedat2.py on the DVS128."""
    pairs = get_aer_events_from_file(path, 2.0, path.read_bytes().rindex(b"\r\n") + 2)
    address, t = pairs["address"].astype(np.int64), pairs["timeStamp"]
    if b"Davis346" in path.read_bytes()[:200]:
        x, y, p = 345 - (address >> 12 & 1023), 259 - (address >> 22 & 511), address >> 11 & 1
    else:
        x, y, p = 127 - (address >> 1 & 127), 127 - (address >> 8 & 127), 1 - (address & 1)
    return list(zip(x.tolist(), y.tolist(), t.tolist(), p.tolist(), strict=True))


def by_tonic3(path):
    pairs = get_aer_events_from_file(path, 3.1, path.read_bytes().index(b"#!END-HEADER\r\n") + 14)
    data = pairs["address"].astype(np.int64)
    return tuples({"x": data >> 17, "y": data >> 2 & 0x7FFF, "t": pairs["timeStamp"], "p": data >> 1 & 1})


def by_expelliarmus3(path):
    return tuples(Wizard(encoding="evt3").read(path))


OTHERS = {
    "aedat2 dvs128": (by_tonic2, 2**31 - 1),
    "aedat2 davis346": (by_tonic2, 2**31 - 1),
    "aedat3": (by_tonic3, 2**31 - 1),
    "bin": (lambda path: tuples(read_mnist_file(path, dtype=TONIC_NMNIST.dtype)), 2**23 - 1),
    "dat 2": (lambda path: tuples(Wizard(encoding="dat").read(path)), 2**31 - 1),
    "evt2": (lambda path: tuples(Wizard(encoding="evt2").read(path)), 2**33 - 1),
    "evt3": (by_expelliarmus3, 2**12 - 1),  # expelliarmus 1.1.12 is wrong on later times: see test_samples.py
    **{name: (by_aedat, 2**63 - 1) for name in FORMATS if name.startswith("aedat4")},
}


@pytest.mark.parametrize("name", OTHERS)
@SMALL
@given(data=st.data())
def test_another_library_reads_the_same(tmp_path_factory, write, read, name, data):
    suffix, encode, x, y, _, _ = FORMATS[name]
    theirs, latest = OTHERS[name]
    limits = [(0, high) for _, high in (x, y)]
    events = sorted(data.draw(events_in(*limits, (0, latest))), key=lambda event: event[2])
    path = tmp_path_factory.getbasetemp() / f"shared{suffix}"
    path.write_bytes(encode(write, events))
    assert theirs(path) == events == read(path.read_bytes(), suffix)[0]


@SMALL
@given(data=st.sets(st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 1), st.integers(0, 99)), min_size=1))
def test_vectors_read_back_and_as_another_library_reads_them(tmp_path_factory, write, read, data):
    events = [(x, y, t, p) for t, y, p, x in sorted(data)]
    path = tmp_path_factory.getbasetemp() / "vectors.raw"
    path.write_bytes(write.evt3(events, vectors=True))
    assert read(path.read_bytes(), ".raw") == (events, (1280, 720))
    assert by_expelliarmus3(path) == events
