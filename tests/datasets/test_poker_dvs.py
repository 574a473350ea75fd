import hashlib
import io
import shutil
import tarfile

import numpy as np
import pytest
from tonic.datasets import POKERDVS

from quietspike.core import DATASETS, DataError, OptionError, UnknownNameError
from quietspike.core.testing import check_dataset
from quietspike.datasets import PokerDVS, make_events, to_frames

FOLDERS = ["cl", "he", "di", "sp"]


@pytest.fixture
def archives(recordings):
    return recordings("poker-dvs")


def unpacked(archive):
    """The recordings by class, read out of the archive without tonic."""
    found = {label: [] for label in range(4)}
    with tarfile.open(archive) as packed:
        for member in sorted(packed.getmembers(), key=lambda member: member.name):
            if member.name.endswith(".npy"):
                table = np.load(io.BytesIO(packed.extractfile(member).read()), allow_pickle=False).astype(np.int64)
                t, x, y, p = table.T
                found[FOLDERS.index(member.name.split("/")[-2])].append(make_events(x, y, t, p))
    return found


def test_it_is_registered():
    assert DATASETS.get("poker_dvs") is PokerDVS


def test_it_keeps_the_contract(archives):
    check_dataset(PokerDVS(root=archives))


def test_counts_and_classes(archives):
    poker = PokerDVS(root=archives)
    splits = {name: poker.split(name) for name in ("train", "validation", "test")}
    counts = {name: np.bincount(split.labels).tolist() for name, split in splits.items()}
    assert counts == {"train": [9] * 4, "validation": [3] * 4, "test": [5] * 4}
    assert not set(splits["train"].indices) & set(splits["validation"].indices)
    assert (poker.input_shape, poker.steps, len(poker.classes)) == ((2, 35, 35), 8, 4)


@pytest.mark.parametrize("part", ["train", "test"])
def test_frames_are_those_of_the_archive(archives, part):
    PokerDVS(root=archives, steps=7).split(part)  # another framing's cache entry, not to be taken for this one's
    poker = PokerDVS(root=archives, steps=6)
    found = unpacked(archives / f"pips_{part}.tar.gz")
    assert [len(found[label]) for label in range(4)] == [12 if part == "train" else 5] * 4
    split = poker.split(part)
    for label in range(4):
        for index in np.flatnonzero(split.labels == label):
            position = split.indices[index] - label * len(found[label])
            frames = to_frames(found[label][position], (35, 35, 2), poker.framing)
            assert (split[index][0].numpy() == frames).all()
            assert frames.sum() == len(found[label][position])


def test_the_archives_folder_is_only_read(archives, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(archives, root)
    PokerDVS(root=root).split("train")
    assert sorted(path.name for path in root.iterdir()) == ["pips_test.tar.gz", "pips_train.tar.gz"]


def test_the_second_time_comes_from_the_cache(archives, monkeypatch):
    first = PokerDVS(root=archives).split("test")
    monkeypatch.setattr(POKERDVS, "test_md5", "none")
    second = PokerDVS(root=archives).split("test")
    assert all((a[0] == b[0]).all() for a, b in zip(first, second, strict=True))


def test_a_damaged_archive_is_named(archives, tmp_path):
    content = bytearray((archives / "pips_test.tar.gz").read_bytes())
    content[1000] ^= 1
    (tmp_path / "pips_test.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"pips_test\.tar\.gz: not POKER-DVS as published, or damaged: md5") as raised:
        PokerDVS(root=tmp_path).split("test")
    assert "\n" not in str(raised.value)


def packed_as_published(tmp_path, monkeypatch, name, content=b"", kind=tarfile.REGTYPE, target=""):
    """An archive of our own that passes for the published one."""
    archive = tmp_path / "root" / "pips_test.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as packed:
        member = tarfile.TarInfo(name)
        member.size, member.type, member.linkname = len(content), kind, target
        packed.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(POKERDVS, "test_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    return archive.parent


@pytest.mark.parametrize("up", ["", "../../../../../../../.."])
def test_a_path_out_of_the_archive_is_refused(tmp_path, monkeypatch, up):
    outside = tmp_path / "outside.npy"
    root = packed_as_published(tmp_path, monkeypatch, up + str(outside), b"evil")
    with pytest.raises(
        DataError, match=r"cannot be unpacked and read: .*outside\.npy' is no file or folder inside of it"
    ):
        PokerDVS(root=root).split("test")
    assert not outside.exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_what_is_no_file_is_refused(tmp_path, monkeypatch, kind):
    root = packed_as_published(tmp_path, monkeypatch, "pips_test/cl/0.npy", kind=kind, target=str(tmp_path))
    with pytest.raises(DataError, match=r"cannot be unpacked and read: 'pips_test/cl/0\.npy' is no file or folder"):
        PokerDVS(root=root).split("test")


def test_it_unpacks_without_pythons_filters(archives, monkeypatch):
    """Python has them from 3.11.4."""
    monkeypatch.delattr(tarfile.TarFile, "extractall")
    monkeypatch.delattr(tarfile, "data_filter")
    assert len(PokerDVS(root=archives).split("test")) == 20


def test_an_archive_of_something_else_is_refused(tmp_path, monkeypatch):
    """Too few recordings: tonic then looks for archives of its own, and there are none."""
    root = packed_as_published(tmp_path, monkeypatch, "pips_test/cl/0.npy", b"not an array")
    with pytest.raises(DataError, match="cannot be unpacked and read"):
        PokerDVS(root=root).split("test")


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(DataError, match=rf"poker_dvs: no pips_train\.tar\.gz in {tmp_path}"):
        PokerDVS(root=tmp_path).split("validation")
    with pytest.raises(DataError, match="give root"):
        PokerDVS().split("test")


def test_an_unknown_split_comes_with_the_near_match(tmp_path):
    with pytest.raises(UnknownNameError, match="poker_dvs: split: no 'trian'; did you mean 'train'"):
        PokerDVS(root=tmp_path).split("trian")


@pytest.mark.parametrize(("option", "value"), [("validation", 1), ("validation", -0.1), ("seed", -2), ("downscale", 0)])
def test_a_bad_option_is_named_with_its_value(option, value):
    with pytest.raises(OptionError, match=f"{option}={value}"):
        PokerDVS(**{option: value})
