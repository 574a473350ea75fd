"""``quietspike data``, as it is called on the command line."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from quietspike.core import OptionError, QuietspikeError, UnknownNameError
from quietspike.datasets import DigitsDVS
from quietspike.datasets.cache import clear_entries, list_entries
from quietspike.datasets.cli import parse_options, run

DIGITS = ["digits_dvs", "--train", "20", "--validation", "10", "--test", "10", "--steps", "3"]


@pytest.fixture
def data():
    """Run it; gives what it prints."""

    def call(*words):
        printed = io.StringIO()
        assert run(list(map(str, words)), Console(file=printed, width=160)) == 0
        return printed.getvalue()

    return call


def test_list_shows_every_data_set_and_what_it_is(data):
    lines = {line.split("│")[1].strip(): line for line in data("list").splitlines() if line.startswith("│")}
    assert set(lines) >= {
        "cifar10_dvs",
        "daily_action_dvs",
        "digits_dvs",
        "dvs128_gait_day",
        "dvs128_gait_night",
        "dvs_gesture",
        "event_folder",
        "har_dvs",
        "image_folder",
        "ncaltech101",
        "nmnist",
        "poker_dvs",
    }
    assert re.search(r"11 .*128x128 .*your folder, or a download", lines["dvs_gesture"])
    assert re.search(r"10 .*20x20 .*generated", lines["digits_dvs"])
    assert "your folder" in lines["event_folder"]
    assert re.search(r"300 .*346x260 .*your folder ", lines["har_dvs"])


def test_info_tells_splits_shape_and_whom_to_cite(data):
    shown = data("info", *DIGITS)
    for told in ("T = 3, 2x20x20", "20 samples, 2 a class", "10 samples, 1 a class", "downscale", "Alpaydin"):
        assert told in shown
    assert list_entries() == []


def test_info_counts_classes_that_a_split_lacks(data):
    assert "12 samples, 1 to 2 a class" in data("info", "digits_dvs", "--train", "12", "--validation", "10")
    assert "5 samples, 0 to 1 a class" in data("info", *DIGITS, "--max_test", "5")


def build():
    digits = DigitsDVS(train=20, validation=10, test=10, steps=3)
    for name in ("train", "validation", "test"):
        digits.split(name)


def test_the_cache_is_shown_and_cleared_by_name(data):
    assert "0 entries" in data("cache")
    build()
    shown = data("cache")
    assert re.search(r"digits_dvs .*20 .*3 frames by time", shown)
    assert "3 entries" in shown
    for entry in list_entries():
        assert entry.bytes == sum(path.stat().st_size for path in entry.folder.iterdir())
    with pytest.raises(
        UnknownNameError, match=r"^data: clear: in the cache: no 'digit_dvs'; did you mean 'digits_dvs'\?$"
    ):
        data("clear", "digit_dvs")
    assert data("clear", "digits_dvs").startswith("3 entries removed, ")
    assert not entry.folder.exists()
    assert list_entries() == clear_entries() == []


def test_a_damaged_entry_is_shown_as_such(data):
    build()
    for index, damage in enumerate((b"\xff{", b'{"a":1}', b"[]")):
        (list_entries()[index].folder / "key.json").write_bytes(damage)
        assert data("cache").count("damaged, or of another version") == index + 1
    assert data("clear").startswith("3 entries removed")


@pytest.mark.parametrize("index", [0, 7])
def test_show_draws_a_picture_of_a_sample(data, tmp_path, index):
    path = tmp_path / "sample.png"
    said = data("show", *DIGITS, "--split", "test", "--index", index, "--output", path)
    assert re.match(rf"digits_dvs, test {index}: \d; drawn into ", said)
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape[1] > pixels.shape[0] > 300
    red, blue = pixels[..., 0] - pixels[..., 2] > 60, pixels[..., 2] - pixels[..., 0] > 60
    upper = slice(0, len(pixels) // 2)
    for colour in (red, blue):  # events in the frames above, and their rates below
        assert colour[upper].sum() > 50
        assert colour[len(pixels) // 2 :].sum() > 50


def test_a_picture_has_a_name_of_its_own(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data("show", *DIGITS)
    assert (tmp_path / "digits_dvs-train-0.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lsit"], r"data: command: no 'lsit'; did you mean 'list'\?"),
        (["info"], r"data info: .*name"),
        (["info", "digit_dvs"], r"datasets: no 'digit_dvs'; did you mean 'digits_dvs'\?"),
        (["info", "digits_dvs", "--stpes", "4"], r"datasets: digits_dvs: option: no 'stpes'; did you mean 'steps'\?"),
        (
            ["info", "digits_dvs", "--steps", "0"],
            r"datasets: digits_dvs: steps=0: must be a whole number of at least 1",
        ),
        (["info", "digits_dvs", "--steps"], r"data: --steps: give a value"),
        (["info", "nmnist", "--root", "/nowhere"], r"nmnist: no folder /nowhere"),
        (["list", "--steps", "3"], r"data: unexpected --steps"),
        (["cache", "digits_dvs"], r"data: unexpected 'digits_dvs'"),
        (["show", *DIGITS, "--split", "tset"], r"data: --split: no 'tset'; did you mean 'test'\?"),
        (["show", *DIGITS, "--index", "20"], r"index=20: train has 0 to 19"),
        (["show", *DIGITS, "--clip", "1"], r"clip=1: train has 0 to 0"),
        (["show", *DIGITS, "--output", "plain"], r"data: --output plain: must end in .png, .svg or .pdf"),
        (["info", "digits_dvs", "--name", "nmnist"], r"data: unexpected --name; the data set is digits_dvs"),
        (["info", "event_folder", "--root", "2024"], r".*root=2024: must be a folder's path, as './2024' is"),
        (["info", "nmnist", "--root", "true"], r".*root=True: must be a folder's path, as './True' is"),
        (
            ["info", "digits_dvs", "--augment", "0.5", "--augment.flip", "0.3"],
            r"data: --augment.flip: --augment has a value of its own",
        ),
        (["info", "digits_dvs", "--steps", "99999999999"], r".*steps=99999999999: a sample of .* more than 1 GiB; .*"),
        (["show", *DIGITS, "--output", "a.mp3"], r"data: --output a.mp3: Format 'mp3' is not supported .*"),
    ],
)
def test_a_mistake_is_one_line(data, words, message):
    with pytest.raises(QuietspikeError) as caught:
        data(*words)
    assert re.fullmatch(message, str(caught.value))


def test_options_nest_and_keep_their_types():
    words = [
        "--augment.flip",
        "0.5",
        "--augment.shift=3",
        "--binary",
        "true",
        "--root",
        "a b",
        "--sensor_size",
        "[4, 5]",
    ]
    expected = {"augment": {"flip": 0.5, "shift": 3}, "binary": True, "root": "a b", "sensor_size": [4, 5]}
    assert parse_options(words) == expected
    with pytest.raises(OptionError, match=r"^data: unexpected 'word'$"):
        parse_options(["word"])


def test_the_package_alone_has_it_as_a_module(python, tmp_path):
    code = "import runpy; runpy.run_module('quietspike.datasets', run_name='__main__', alter_sys=True)"
    process = python(code, "info", "nmnsit")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert err == "quietspike: datasets: no 'nmnsit'; did you mean 'nmnist'?\n"
