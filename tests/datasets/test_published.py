"""What all published sets have in common; N-MNIST stands for those that are downloaded."""

import re
from contextlib import contextmanager
from pathlib import Path

import pytest
import tonic

from quietspike.core import DATASETS, DataError, OptionError, QuietspikeError, UnknownNameError
from quietspike.core.networks import build_plugin
from quietspike.datasets import NMNIST, DVSGesture, Options, PublishedSet

from .conftest import mistakes, random_events, tuples, write
from .formats.conftest import atis_bin, npy, table

PUBLISHED = {name: DATASETS.get(name) for name in DATASETS.names() if isinstance(DATASETS.get(name), PublishedSet)}
DOWNLOADED = [name for name, published in PUBLISHED.items() if published.tonic]
each = pytest.mark.parametrize("name", PUBLISHED)


def put_nmnist(folder):
    """As tonic unpacks it: five recordings to train with and two to test with of each class."""
    for part, number in {"Train": 5, "Test": 2}.items():
        for label in range(10):
            for sample in range(number):
                events = random_events(label * 100 + sample + (part == "Test") * 50)
                write(folder / part / str(label) / f"{sample:05}.bin", atis_bin(tuples(events)))


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.fixture
def fetch(monkeypatch):
    """Let tonic's class be a function."""
    return lambda function: monkeypatch.setattr(tonic.datasets, "NMNIST", function)


def test_there_are_as_many_as_the_catalogue_says():
    assert set(PUBLISHED) == {
        "cifar10_dvs",
        "daily_action_dvs",
        "dvs128_gait_day",
        "dvs128_gait_night",
        "dvs_gesture",
        "har_dvs",
        "ncaltech101",
        "nmnist",
        "poker_dvs",
    }


@each
def test_it_says_what_it_is(name):
    published = PUBLISHED[name]
    assert published.name == name
    assert len(set(published.classes)) == len(published.classes)
    assert re.search(r"\(\d{4}\).*https://doi\.org/10\.\d+/\S+$", published.citation)
    if published.tonic:
        kind = getattr(tonic.datasets, published.tonic[0])
        assert published.folder == kind.__name__
        assert len(kind.classes if hasattr(kind, "classes") else published.classes) == len(published.classes)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar10_dvs", (20, 10_000, 1, "random", 1)),
        ("daily_action_dvs", (36, 120_000, 2, "random", 10)),
        ("dvs128_gait_day", (60, 15_000, 4, "random", 10)),
        ("dvs128_gait_night", (60, 15_000, 4, "random", 10)),
        ("dvs_gesture", (60, 15_000, 4, "random", 10)),
        *((name, (8, None, 1, "first", 1)) for name in ("har_dvs", "ncaltech101", "nmnist", "poker_dvs")),
    ],
)
def test_its_own_options_are_those_of_the_papers(name, expected):
    """Steps, window, downscale and clips of MA-SNN and ASA-SNN, where they use the set."""
    options = Options.of(name, PUBLISHED[name].defaults, {})
    assert (options.steps, options.window_us, options.downscale, options.start, options.clips) == expected
    assert Options.of(name, PUBLISHED[name].defaults, {"steps": 3}).steps == 3


@each
def test_without_root_it_says_what_to_give(name):
    home = f"; it is handed out at {PUBLISHED[name].home}"
    there = "; with download=True they are put there" if name in DOWNLOADED else home
    with pytest.raises(DataError) as raised:
        PUBLISHED[name]()
    assert str(raised.value) == f"{name}: give root, the folder of the recordings{there}"


@each
def test_a_missing_folder_and_one_of_something_else_are_named(name, tmp_path):
    with pytest.raises(DataError) as raised:
        PUBLISHED[name](root=tmp_path / "gone")
    assert str(raised.value) == f"{name}: no folder {tmp_path / 'gone'}"
    (tmp_path / "notes").mkdir()
    write(tmp_path / "notes" / "README", "nothing of use")
    with pytest.raises(DataError, match=re.escape(str(tmp_path))) as raised:
        PUBLISHED[name](root=str(tmp_path))
    assert "\n" not in str(raised.value)


@each
def test_a_bad_option_comes_before_the_folder(name):
    for option, message in (
        ({"steps": 0}, "^steps=0: "),
        ({"download": "no"}, "^download='no': must be true or false"),
    ):
        with pytest.raises(OptionError, match=message):
            PUBLISHED[name](root="/gone", **option)
    with pytest.raises(UnknownNameError, match=rf"^datasets: {name}: option: no 'sed'; did you mean 'seed'\?$"):
        PUBLISHED[name](root="/gone", sed=0)
    with pytest.raises(QuietspikeError, match=rf"^datasets: {name}: option: no 'sed'; did you mean 'seed'\?$"):
        build_plugin(DATASETS, {"name": name, "sed": 0})


@each
def test_what_tonic_does_not_have_is_not_downloaded(name):
    if name in DOWNLOADED:
        return
    with pytest.raises(OptionError, match=rf"^download=True: {name} is not fetched here; get it from https:"):
        PUBLISHED[name](root="/gone", download=True)


def test_a_home_folder_may_be_meant(monkeypatch, root):
    monkeypatch.setenv("HOME", str(root.parent))
    put_nmnist(root)
    assert len(NMNIST(root="~/root").split("test")) == 20


# downloads


def test_a_download_goes_through_tonic(root, fetch):
    calls = []

    def download(save_to, train):
        calls.append(train)
        put_nmnist(Path(save_to) / "NMNIST")

    fetch(download)
    assert len(NMNIST(root=root, download=True).split("test")) == 20
    assert calls == [True, False]
    assert {path.name for path in root.iterdir()} <= {"NMNIST", ".nmnist.lock"}


@pytest.mark.parametrize("inner", [".", "NMNIST"])
def test_what_is_there_is_not_downloaded(root, fetch, inner):
    fetch(None)
    put_nmnist(root / inner)
    before = sorted(root.rglob("*"))
    assert len(NMNIST(root=root, download=True).split("test")) == 20
    assert sorted(root.rglob("*")) == before


def test_a_mistake_in_a_list_is_no_reason_to_download(root, fetch):
    fetch(None)
    for name in ("train.txt", "test.txt"):
        write(root / name, "999 1\n")
    with pytest.raises(DataError, match=r"train\.txt: sample 999: neither"):
        NMNIST(root=root, download=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("no route to host")])
def test_a_download_that_was_cut_off_is_not_taken_for_whole(root, fetch, error):
    tries = []

    def download(save_to, train):
        tries.append(train)
        put_nmnist(Path(save_to) / "NMNIST")
        if len(tries) == 1:
            raise error

    fetch(download)
    with pytest.raises((KeyboardInterrupt, DataError)):
        NMNIST(root=root, download=True)
    with pytest.raises(DataError, match=rf"^nmnist: {root} holds neither a list train"):
        NMNIST(root=root)
    assert len(NMNIST(root=root, download=True).split("test")) == 20
    assert tries == [True, True, False]
    assert len(NMNIST(root=root).split("test")) == 20


def test_what_a_killed_download_had_unpacked_is_not_taken_for_whole(root, monkeypatch):
    """Tonic's own class takes an archive's name beside a hundred files for all of the set."""
    kind, tries = tonic.datasets.DVSGesture, []
    left = root / ".dvs_gesture.unfinished" / "DVSGesture"
    for part, archive in (("Train", kind.train_filename), ("Test", kind.test_filename)):
        write(left / archive, b"a whole archive, or half of one: tonic's checksum tells")
        for number in range(11 * 12):
            folder = left / f"ibmGesture{part}" / f"user{number // 11:02}_lab"
            write(folder / f"{number % 11}.npy", npy(table(tuples(random_events(number)), "xypt")))

    def download(self):
        tries.append(self.filename)
        raise OSError("no route to host")

    monkeypatch.setattr(kind, "download", download)
    with pytest.raises(DataError, match="no route to host"):
        DVSGesture(root=root, download=True)
    assert tries == [kind.train_filename]
    assert sorted(path.name for path in left.iterdir()) == sorted([kind.train_filename, kind.test_filename])


def test_what_is_in_a_downloads_way_is_left_alone(root, fetch):
    fetch(None)
    write(root / "NMNIST" / "notes", "mine")
    with pytest.raises(DataError, match=f"^nmnist: {root / 'NMNIST'} is in a download's way, and is no such set$"):
        NMNIST(root=root, download=True)


def test_of_two_downloads_at_once_the_second_finds_the_firsts(root, fetch, monkeypatch):
    @contextmanager
    def wait(path):
        assert path.parent == root
        put_nmnist(root / "NMNIST")  # the other process, which held the lock
        yield

    monkeypatch.setattr("quietspike.datasets.published.locked", wait)
    fetch(None)
    assert len(NMNIST(root=root, download=True).split("test")) == 20


CHILD = """
import sys, time
from pathlib import Path
import tonic
from quietspike.datasets import NMNIST

def download(save_to, train):
    with open(sys.argv[2], "a") as log:
        log.write("fetched\\n")
    time.sleep(0.3)
    if not train:
        Path(save_to, "NMNIST").mkdir(parents=True)
        Path(sys.argv[3]).rename(Path(save_to, "NMNIST", "Train"))
        Path(sys.argv[4]).rename(Path(save_to, "NMNIST", "Test"))

tonic.datasets.NMNIST = download
print(len(NMNIST(root=sys.argv[1], download=True).split("test")))
"""


def test_of_two_processes_one_downloads(root, tmp_path, python):
    put_nmnist(tmp_path / "there")
    arguments = (root, tmp_path / "log", tmp_path / "there" / "Train", tmp_path / "there" / "Test")
    children = [python(CHILD, *arguments) for _ in range(2)]
    said = [child.communicate(timeout=120) for child in children]
    assert [(output, mistakes(errors)) for output, errors in said] == [("20\n", [])] * 2
    assert (tmp_path / "log").read_text() == "fetched\n" * 2  # to train and to test with


@pytest.mark.parametrize("error", [OSError("no route to host"), RuntimeError("no route to host")])
def test_a_download_that_fails_is_one_line(root, fetch, error):
    def fail(save_to, train):
        raise error

    fetch(fail)
    with pytest.raises(DataError, match=rf"^nmnist: cannot be downloaded into {root}: no route to host; it is handed"):
        NMNIST(root=root, download=True)


def test_a_download_of_something_else_says_what_was_looked_for(root, fetch):
    fetch(lambda save_to, train: Path(save_to, "NMNIST").mkdir(parents=True, exist_ok=True))
    with pytest.raises(DataError, match=r"holds neither a list train\*\.txt nor Train/0\.\.9/\*\.bin"):
        NMNIST(root=root, download=True)


def test_folders_are_read_without_tonic(root, python):
    put_nmnist(root)
    code = (
        "import sys; sys.modules['tonic'] = None\n"
        "from quietspike.datasets import NMNIST\n"
        "print(len(NMNIST(root=sys.argv[1], download=True).split('test')))\n"
        "try: NMNIST(root=sys.argv[1] + '/none', download=True)\n"
        "except ValueError as error: print('needs tonic' in str(error))"
    )
    output, errors = python(code, root).communicate(timeout=120)
    assert (output, mistakes(errors)) == ("20\nTrue\n", [])


def test_a_recording_that_is_gone_since_is_named(root):
    put_nmnist(root)
    nmnist = NMNIST(root=root)
    gone = root / "Train" / "3" / "00002.bin"
    gone.unlink()
    with pytest.raises(DataError, match=rf"^{gone}: cannot be read: No such file or directory$"):
        nmnist.split("train")
