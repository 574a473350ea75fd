"""Damaged files: each is read or refused in one line, in a process of its own that may not hang, crash or take memory.

The process runs ``fuzz`` of this file; the file it died of, or failed at, stays behind.
"""

import io
import json
import random
import resource
import signal
import struct
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from quietspike.core import DataError
from quietspike.datasets.events import EVENT
from quietspike.datasets.formats.arrays import load
from quietspike.datasets.formats.columns import Layout
from quietspike.datasets.formats.content import Content
from quietspike.datasets.recordings import SUFFIXES, read_content

START = "import runpy, sys; runpy.run_path(sys.argv[1])['fuzz'](*sys.argv[2:])"
SECONDS = 10  # a file; the slowest takes some milliseconds
GIGABYTE = 1 << 30
INTERESTING = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 32) - 8)
LAYOUTS = (None, None, Layout(columns="xytp"), Layout(unit_us=1e6), Layout(unit_us=1e-3))


@pytest.fixture
def seeds(tmp_path, write, recordings):
    """A folder with a small valid file of every format and, where there are some, the starts of real recordings."""
    events = [(x % 120, x * 7 % 110, 1000 + x * x, x % 2) for x in range(1, 40)]
    arrays = np.empty(3, dtype=object)
    arrays[:] = [write.table(events[:9]), write.table(events[9:]), write.table(events, dtype=np.int16)]
    files = {
        "aedat2-dvs128.aedat": write.aedat2(events),
        "aedat2-davis346.aedat": write.aedat2(events, "Davis346", (346, 260)),
        "aedat3.aedat": write.aedat3(events, packets=[write.packet3(0, 8, bytes(16))]),
        **{f"aedat4-{kind}.aedat4": write.aedat4(events, kind, table=b"FTAB") for kind in range(5)},
        "bin.bin": write.atis_bin(events),
        "dat1.dat": write.dat(events, 1),
        "dat2.dat": write.dat(events),
        "evt2.raw": write.evt2(events),
        "evt3.raw": write.evt3(events),
        "evt3-vectors.raw": write.evt3([(x, t // 900, t, p) for _, _, t, p in events for x in (1, 3, 9)], vectors=True),
        "structured.npy": write.npy(write.structured(events)),
        "table.npy": write.npy(write.table(events)),
        "fortran.npy": write.npy(np.asfortranarray(write.table(events, dtype=np.float32))),
        "objects.npy": write.npy(arrays, allow_pickle=True),
        "named.npz": write.npz(**write.named(events)),
        "stored.npz": write.npz(np.savez, events=write.table(events)),
        "events.h5": write.h5({**write.named(events, "events/"), "t_offset": 10**6}),
        "cd.h5": write.h5({"CD/events": write.structured(events)}),
        "packed.hdf5": write.h5(write.named(events), compression="gzip"),
        "checked.h5": write.h5(write.named(events, "events/"), chunks=(7,), fletcher32=True),
        "checked-packed.h5": write.h5(
            {"events": write.structured(events)}, chunks=(7,), fletcher32=True, compression="gzip", shuffle=True
        ),
        "lzf.h5": write.h5(write.named(events), chunks=(7,), compression="lzf", maxshape=(None,)),
        "shuffled.h5": write.h5(write.named(events), chunks=(7,), compression="gzip", shuffle=True),
        "latest.h5": write.h5(write.named(events, "events/"), libver="latest", chunks=(7,), compression="gzip"),
        "latest-many.h5": write.h5(write.named(events, "events/"), libver="latest", chunks=(7,), maxshape=(None,)),
        "refused-offset.h5": write.h5(write.named(events), chunks=(7,), scaleoffset=0),
        "refused-virtual.h5": virtual(write.named(events)),
        "text.txt": b"# t x y p\n" + write.text(events),
        "seconds.csv": b"\xef\xbb\xbft,x,y,p\n" + write.text(events).replace(b" ", b".0,"),
        **_starts_of_real_ones(recordings, write),
    }
    assert {Path(name).suffix for name in files} == SUFFIXES - {".bs2"}  # which is another name of .bin
    folder = tmp_path / "seeds"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def virtual(columns):
    """An HDF5 file whose x lies in another file, as it says."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name, column in columns.items():
            if name == "x":
                layout = h5py.VirtualLayout(column.shape, column.dtype)
                layout[:] = h5py.VirtualSource("other.h5", name, column.shape)
                file.create_virtual_dataset(name, layout)
            else:
                file[name] = column
    return stream.getvalue()


def _starts_of_real_ones(recordings, write):
    try:
        folder = recordings("samples")
    except pytest.skip.Exception:
        return {}
    data = (folder / "davis346.aedat4").read_bytes()
    first = last = 18 + struct.unpack_from("<I", data, 14)[0]
    for _ in range(10):
        last += 8 + struct.unpack_from("<i", data, last + 4)[0]
    start = (folder / "dvs128_walking_2.aedat").stat().st_size - 8 * 19_182
    return {
        "real.aedat": (folder / "dvs128_walking_2.aedat").read_bytes()[: start + 800],
        "real.aedat4": write.aedat4([], 1, packets=[data[first:last]]),
        "real.bin": (folder / "ncaltech101_faces_easy.bin").read_bytes()[:2000],
        "real.dat": (folder / "ncars.dat").read_bytes()[: 16_165 - 8 * 1800],
        "real.raw": (folder / "evt3.raw").read_bytes()[:4000],
    }


def run(python, seeds, number):
    """Damage each file that many times; gives how many of each were read and how many refused."""
    process = python(START, __file__, seeds, number)
    out, errors = process.communicate()
    [last] = [path.read_bytes() for path in seeds.parent.glob("last")] or [b""]
    assert out, f"{errors}\nended with {process.returncode} at {last.hex()}, in {seeds.parent}"
    found = json.loads(out)
    assert set(found) == {path.name for path in seeds.iterdir()}
    assert {name: sum(counts) for name, counts in found.items()} == dict.fromkeys(found, number)
    assert errors == ""
    return found


def test_damaged_files_are_read_or_refused(python, seeds):
    found = run(python, seeds, 50)
    assert sum(map(sum, found.values())) >= 1200
    assert all(sum(column) for column in zip(*found.values(), strict=True)), "some are read and some refused"


@pytest.mark.slow
def test_very_many_damaged_files_are_read_or_refused(python, seeds, capsys):
    found = run(python, seeds, 2000)
    assert sum(map(sum, found.values())) >= 40_000
    with capsys.disabled():
        sys.stdout.write(f"\n{json.dumps(found)}\n")


# in the process of its own


def fuzz(folder, number):
    originals = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
    last = Path(folder).with_name("last")
    for name, data in originals.items():
        assert check(name, data, None) == name.startswith("refused")
    resource.setrlimit(resource.RLIMIT_AS, (4 * GIGABYTE, 4 * GIGABYTE))
    most = peak() + GIGABYTE
    counts = {}
    with last.open("wb", buffering=0) as file:  # left open: to close it each time would wait for the disk
        for name, data in originals.items():
            dice = random.Random(f"{name} {number}")
            kin = [other for other in originals.values() if other[:4] == data[:4]]
            counts[name] = [0, 0]
            for _ in range(int(number)):
                damaged = damage(dice, data, dice.choice(kin))
                file.seek(0)
                file.write(damaged)
                file.truncate()
                signal.alarm(SECONDS)  # kills
                counts[name][check(name, damaged, dice.choice(LAYOUTS))] += 1
                signal.alarm(0)
                assert peak() < most, f"{name}: took a gigabyte"
    last.unlink()
    sys.stdout.write(json.dumps(counts))


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def check(name, data, layout):
    """Whether it was refused."""
    content = Content(name, data)
    try:
        if name.startswith("objects"):
            loaded = load(content)  # a list, unless the header is damaged in that it tells of no objects
            assert all(array.dtype.kind in "biuf" for array in loaded if isinstance(loaded, list))
            return False
        events, _ = read_content(content, Path(name).suffix, layout)
    except DataError as error:
        message = str(error)
    else:
        assert events.dtype == EVENT
        assert len(events) > 0
        assert events["p"].max() <= 1
        return False
    assert message.startswith(f"{name}: ")
    assert len(message.splitlines()) == 1
    return True


def damage(dice, data, other):
    """One to four changes, more often few."""
    data = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 2, 3, 4))):
        start = dice.randrange(len(data) or 1)
        stop = min(len(data), start + dice.choice((1, 2, 4, 8, 32, 200)))
        change = dice.randrange(9)
        if change == 0 and start < len(data):
            data[start] ^= 1 << dice.randrange(8)
        elif change == 1:
            data[start:stop] = dice.choice((b"\0", b"\xff")) * (stop - start)
        elif change == 2:
            data[start:stop] = dice.randbytes(stop - start)
        elif change == 3:
            del data[start:]
        elif change == 4:
            del data[start:stop]
        elif change == 5:
            data[stop:stop] = data[start:stop] * dice.choice((1, 1, 2, 50))
        elif change == 6:
            data[start : start + 4] = struct.pack(dice.choice("<>") + "I", dice.choice(INTERESTING))
        elif change == 7:
            data[start : start + 8] = struct.pack(
                "<Q", dice.choice(INTERESTING) << dice.choice((0, 8, 32)) & (1 << 64) - 1
            )
        else:
            data = data[: len(data) // 2] + other[len(other) // 2 :]
    return bytes(data)
