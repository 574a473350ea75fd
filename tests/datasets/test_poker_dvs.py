import gzip
import hashlib
import io
import shutil
import tarfile

import numpy as np
import pytest
import tonic

from quietspike.core import DataError
from quietspike.core.testing import check_dataset
from quietspike.datasets import Framing, PokerDVS, make_events, poker_dvs, to_frames

FOLDERS = ["cl", "he", "di", "sp"]
SIZE = (35, 35, 2)


@pytest.fixture
def archives(recordings):
    return recordings("poker-dvs")


def unpacked(archive):
    """The recordings by class, read out of the archive by other means."""
    found = {label: [] for label in range(4)}
    with tarfile.open(archive) as packed:
        for member in sorted(packed.getmembers(), key=lambda member: member.name):
            if member.name.endswith(".npy"):
                table = np.load(io.BytesIO(packed.extractfile(member).read()), allow_pickle=False).astype(np.int64)
                t, x, y, p = table.T
                found[FOLDERS.index(member.name.split("/")[-2])].append(make_events(x, y, t, p))
    return found


def test_it_keeps_the_contract(archives):
    check_dataset(PokerDVS(root=archives))


def test_counts_and_classes(archives):
    poker = PokerDVS(root=archives)
    splits = {name: poker.split(name) for name in ("train", "validation", "test")}
    counts = {name: np.bincount(split.labels).tolist() for name, split in splits.items()}
    assert counts == {"train": [9] * 4, "validation": [3] * 4, "test": [5] * 4}
    assert not set(splits["train"].indices) & set(splits["validation"].indices)
    assert (poker.input_shape, poker.steps) == ((2, 35, 35), 8)
    assert poker.classes == ("clubs", "hearts", "diamonds", "spades")


@pytest.mark.parametrize("part", ["train", "test"])
def test_frames_are_those_of_the_archive(archives, part):
    PokerDVS(root=archives, steps=7).split(part)  # another framing's cache entry, not to be taken for this one's
    found = unpacked(archives / f"pips_{part}.tar.gz")
    assert [len(found[label]) for label in range(4)] == [12 if part == "train" else 5] * 4
    split = PokerDVS(root=archives, steps=6).split(part)
    for label in range(4):
        for index in np.flatnonzero(split.labels == label):
            position = split.indices[index] - label * len(found[label])
            frames = to_frames(found[label][position], SIZE, Framing(6))
            assert (split[index][0].numpy() == frames).all()
            assert frames.sum() == len(found[label][position])


def test_the_recordings_are_tonics(archives, tmp_path, monkeypatch):
    """Of the unpacked archive, since tonic walks its folders in the file system's order, and drops no duplicate."""
    shutil.unpack_archive(archives / "pips_test.tar.gz", tmp_path / "POKERDVS", filter="data")
    monkeypatch.setattr(tonic.datasets.POKERDVS, "_check_exists", lambda self: True)
    theirs = {}
    for events, label in tonic.datasets.POKERDVS(save_to=str(tmp_path), train=False):
        columns = [events[field].astype(np.int64) for field in "xytp"]
        theirs[make_events(*columns).tobytes()] = label
    poker = PokerDVS(root=archives)
    ours = {poker.recording("test", index).tobytes(): label for index, label in enumerate(poker.split("test").labels)}
    assert len(ours) == 20
    assert ours == theirs


def test_the_archives_folder_is_only_read(archives, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(archives, root)
    PokerDVS(root=root).split("train")
    assert sorted(path.name for path in root.iterdir()) == ["pips_test.tar.gz", "pips_train.tar.gz"]


def test_they_may_lie_where_tonic_puts_them(archives, tmp_path):
    shutil.copytree(archives, tmp_path / "POKERDVS")
    assert len(PokerDVS(root=tmp_path).split("test")) == 20


@pytest.mark.parametrize("place", ["", "POKERDVS"])
def test_they_may_be_unpacked(archives, tmp_path, place):
    for part in ("train", "test"):
        shutil.unpack_archive(archives / f"pips_{part}.tar.gz", tmp_path / place, filter="data")
    for part in ("train", "test"):
        packed, loose = PokerDVS(root=archives).split(part), PokerDVS(root=tmp_path).split(part)
        assert packed.labels.tolist() == loose.labels.tolist()
        assert all((a[0] == b[0]).all() for a, b in zip(packed, loose, strict=True))


def test_the_second_time_comes_from_the_cache(archives, monkeypatch):
    first = PokerDVS(root=archives).split("test")
    monkeypatch.setattr("quietspike.datasets.poker_dvs.read_bytes", None)
    second = PokerDVS(root=archives).split("test")
    assert all((a[0] == b[0]).all() for a, b in zip(first, second, strict=True))


def test_a_damaged_archive_is_named(archives, tmp_path):
    shutil.copytree(archives, tmp_path / "root")
    archive = tmp_path / "root" / "pips_test.tar.gz"
    archive.chmod(0o644)
    content = bytearray(archive.read_bytes())
    content[1000] ^= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"pips_test\.tar\.gz: not POKER-DVS as published, or damaged: md5") as raised:
        PokerDVS(root=tmp_path / "root").split("test")
    assert "\n" not in str(raised.value)


@pytest.fixture
def taken_for_published(archives, tmp_path, monkeypatch):
    """An archive of the test's own, of any bytes, that passes for the published one."""

    def put(content):
        root = tmp_path / "root"
        shutil.copytree(archives, root, copy_function=shutil.copyfile)
        (root / "pips_test.tar.gz").write_bytes(content)
        monkeypatch.setitem(poker_dvs._MD5, "test", hashlib.md5(content).hexdigest())
        return root

    return put


@pytest.mark.parametrize("content", [b"no archive", gzip.compress(b"x" * 2000, mtime=0)], ids=["bytes", "gzip"])
def test_what_does_not_unpack_is_refused(taken_for_published, content):
    with pytest.raises(DataError, match=r"pips_test\.tar\.gz: cannot be unpacked: ") as raised:
        PokerDVS(root=taken_for_published(content)).split("test")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("up", ["", "../../../../../../../.."])
def test_nothing_is_written_where_an_archive_says(taken_for_published, tmp_path, up):
    outside, packed = tmp_path / "cl" / "outside.npy", io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo(up + str(outside))
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(DataError, match=r"outside\.npy: no header of a \.npy"):
        PokerDVS(root=taken_for_published(packed.getvalue())).split("test")
    assert not outside.exists()


def test_a_missing_archive_is_named(archives, tmp_path):
    shutil.copy(archives / "pips_test.tar.gz", tmp_path)
    with pytest.raises(DataError, match=rf"^poker_dvs: no pips_train\.tar\.gz in {tmp_path} or {tmp_path}/POKERDVS$"):
        PokerDVS(root=tmp_path)
