"""Real recordings: what their description says of them, and event by event what another library reads."""

import io
import tarfile

import aedat
import numpy as np
import pytest
from expelliarmus import Wizard
from tonic.datasets import NMNIST as TONIC_NMNIST
from tonic.io import get_aer_events_from_file, read_aedat_header_from_file, read_mnist_file

from quietspike.datasets.formats.content import Content
from quietspike.datasets.recordings import SUFFIXES, read_content, read_recording

FIELDS = ("x", "y", "t", "p")

# events, the pixels' columns and rows, seconds where the description has them, and the size that the file tells
SAMPLES = {
    "davis240.aedat4": (111_954, 320, 240, 0.59, (320, 240)),
    "davis346.aedat4": (9_193, 346, 260, 3.81, (346, 260)),
    "dvs128_1.bs2": (63_471, 128, 128, 1.45, None),
    "dvs128_4.bs2": (151_879, 128, 128, 1.45, None),
    "dvs128_8.bs2": (101_288, 128, 128, 1.45, None),
    "dvs128_standing_up.aedat": (155_766, 128, 128, None, (128, 128)),
    "dvs128_walking_1.aedat": (70_304, 128, 128, None, (128, 128)),
    "dvs128_walking_2.aedat": (19_182, 128, 128, None, (128, 128)),
    "evt3.raw": (219_596, 1280, 720, None, None),
    "ncaltech101_faces_easy.bin": (67_445, 151, 173, 0.30, None),
    "ncars.dat": (2_009, 78, 42, 0.10, None),
}


def samples(*suffixes):
    return pytest.mark.parametrize("name", [name for name in SAMPLES if name.endswith(suffixes)])


@pytest.fixture
def both(recordings):
    """A sample's events and its path."""

    def open_sample(name):
        path = recordings("samples") / name
        return read_recording(path).events, path

    return open_sample


def assert_same(ours, theirs, names=FIELDS):
    assert len(ours) == len(theirs[names[0]])
    assert [field for field, name in zip(FIELDS, names, strict=True) if (ours[field] != theirs[name]).any()] == []


def test_every_sample_is_described(recordings):
    assert {path.name for path in recordings("samples").iterdir() if path.suffix in SUFFIXES} == set(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_what_its_description_says(recordings, name):
    number, columns, rows, seconds, size = SAMPLES[name]
    events, told = read_recording(recordings("samples") / name)
    assert (len(events), told) == (number, size)
    assert (events["x"].min(), events["x"].max() + 1) == (0, columns)
    assert (events["y"].min(), events["y"].max() + 1) == (0, rows)
    assert (np.diff(events["t"]) >= 0).all()
    assert seconds is None or round(int(events["t"][-1] - events["t"][0]) / 1e6, 2) == seconds


@samples(".bin", ".bs2")
def test_bin_as_tonic_reads_it(both, name):
    ours, path = both(name)
    assert_same(ours, read_mnist_file(path, dtype=TONIC_NMNIST.dtype))


@samples(".aedat4")
def test_aedat4_as_aedat_reads_it(both, name):
    ours, path = both(name)
    theirs = np.concatenate([packet["events"] for packet in aedat.Decoder(path) if "events" in packet])
    assert_same(ours, theirs, ("x", "y", "t", "on"))


@samples(".dat")
def test_dat_as_expelliarmus_reads_it(both, name):
    ours, path = both(name)
    assert_same(ours, Wizard(encoding="dat").read(path))


@samples(".aedat")
def test_aedat2_as_tonics_pairs_say(both, name):
    # As iniVation's page says, but for the DVS128's polarity and its mirrored x: see aedat2.py.
    ours, path = both(name)
    version, start, _ = read_aedat_header_from_file(path)
    pairs = get_aer_events_from_file(path, version, start)
    address = pairs["address"].astype(np.int64)
    assert (address >> 15 == 0).all()
    x, y, p = 127 - (address >> 1 & 127), 127 - (address >> 8 & 127), 1 - (address & 1)
    assert_same(ours, {"x": x, "y": y, "t": pairs["timeStamp"], "p": p})


@samples(".raw")
def test_evt3_as_expelliarmus_reads_it_but_for_time(both, name):
    ours, path = both(name)
    theirs = Wizard(encoding="evt3").read(path)
    assert_same(ours, {**{field: theirs[field] for field in "xyp"}, "t": ours["t"]})
    # At each step back of TIME_LOW expelliarmus 1.1.12 goes on by 2^12 µs. TIME_HIGH alone carries these bits; it
    # changes twice in this file, so three of its values are all that times may have.
    words = np.frombuffer(path.read_bytes().partition(b"% system_ID 48\n")[2], "<u2").astype(np.int64)
    high, low = (words[words >> 12 == kind] & 0xFFF for kind in (8, 6))
    ahead, steps_back = theirs["t"] - ours["t"], np.count_nonzero(np.diff(low) < 0)
    assert (np.count_nonzero(np.diff(high)), steps_back) == (2, 11)
    assert np.unique(ours["t"] >> 12).tolist() == np.unique(high).tolist()
    assert (ahead[0], ahead[-1]) == (0, steps_back << 12)
    assert (np.diff(ahead) >= 0).all()
    assert (ahead % (1 << 12) == 0).all()


def test_npy_as_numpy_reads_it(recordings):
    read = 0
    for archive in sorted(recordings("poker-dvs").glob("*.tar.gz")):
        with tarfile.open(archive) as packed:
            for member in packed:
                if member.name.endswith(".npy"):
                    data = packed.extractfile(member).read()
                    table = np.load(io.BytesIO(data), allow_pickle=False)  # t, x, y, p
                    ours = read_content(Content(member.name, data), ".npy").events
                    assert_same(ours, dict(zip("txyp", table.T, strict=True)))
                    assert (np.diff(ours["t"]) >= 0).all()
                    assert max(ours["x"].max(), ours["y"].max()) < 35
                    read += 1
    assert read == 68
