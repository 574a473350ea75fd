import shutil
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image

from quietspike.core import DataError, OptionError, UnknownNameError
from quietspike.core.batches import Batches
from quietspike.core.testing import check_dataset
from quietspike.datasets import images
from quietspike.datasets.images import ImageFolder

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture
def folder(tmp_path):
    """Two classes of 12 images with a gradient, each of its own colour."""
    for number in range(24):
        name = ("cat", "dog")[number % 2]
        ramp = np.linspace(0, 255, 64)[None, :, None] * np.ones((48, 1, 3))
        ramp[..., number % 3] = 10 * number
        path = tmp_path / "images" / name / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(ramp.astype(np.uint8)).save(path)
    return tmp_path / "images"


def test_it_keeps_the_contract(folder):
    check_dataset(ImageFolder(root=folder, size=16))


def test_each_split_says_that_its_frames_are_still(folder):
    dataset = ImageFolder(root=folder, size=8)
    assert all(dataset.split(name).images for name in ("train", "validation", "test"))


def test_an_image_is_shown_at_every_step_normalised(folder):
    Image.new("RGB", (70, 50), (255, 0, 128)).save(folder / "cat" / "00.png")
    dataset = ImageFolder(root=folder, size=8, steps=3, crop=False, flip=0, test=1, validation=1)
    assert (dataset.input_shape, dataset.classes) == ((3, 8, 8), ("cat", "dog"))
    split = dataset.split("train")
    place = [path.name for path, _ in split.paths].index("00.png")
    frames, label = split[place]
    assert (frames.shape, label) == ((3, 3, 8, 8), 0)
    expected = (np.array([1, 0, 128 / 255]) - MEAN) / DEVIATION
    assert np.allclose(frames, expected[None, :, None, None], atol=1e-5)


def test_the_middle_is_shown_in_evaluation(folder):
    image = np.zeros((64, 96, 3), np.uint8)
    image[4:60, 20:76] = 255  # 7/8 of the shorter side, in the middle
    Image.fromarray(image).save(folder / "cat" / "00.png")
    dataset = ImageFolder(root=folder, size=56, crop=False, flip=0, test=1, validation=1)
    split = dataset.split("train")
    frames, _ = split[[path.name for path, _ in split.paths].index("00.png")]
    assert np.allclose(frames[0], ((1 - MEAN) / DEVIATION)[:, None, None], atol=1e-5)


def test_training_draws_anew_in_each_epoch_and_alike_when_asked_again(folder):
    split = ImageFolder(root=folder, size=16).split("train")
    first, second = split.at_epoch(0, 7)[3][0], split.at_epoch(1, 7)[3][0]
    assert not torch.equal(first, second)
    assert torch.equal(split.at_epoch(1, 7)[3][0], second)
    assert not torch.equal(split.at_epoch(1, 8)[3][0], second)
    flipped = ImageFolder(root=folder, size=16, crop=False, flip=1).split("train")[3][0]
    plain = ImageFolder(root=folder, size=16, crop=False, flip=0).split("train")[3][0]
    assert torch.equal(flipped, plain.flip(-1))
    for name in ("validation", "test"):
        split = ImageFolder(root=folder, size=16).split(name)
        assert torch.equal(split.at_epoch(0, 1)[0][0], split.at_epoch(5, 2)[0][0])


def test_random_parts_keep_their_bounds(folder):
    """A part of an image whose pixels tell where they come from."""
    y, x = np.mgrid[0:48, 0:64]
    marked = np.stack([4 * x, 5 * y, 0 * x], axis=-1).astype(np.uint8)
    Image.fromarray(marked).save(folder / "cat" / "00.png")
    split = ImageFolder(root=folder, size=32, flip=0, test=1, validation=1).split("train")
    place = [path.name for path, _ in split.paths].index("00.png")
    areas = []
    for epoch in range(60):
        frame = split.at_epoch(epoch, 0)[place][0][0].numpy()
        shown = (frame * DEVIATION[:, None, None] + MEAN[:, None, None]) * 255
        width = (shown[0, 0, -1] - shown[0, 0, 0]) / 4 * 32 / 31
        height = (shown[1, -1, 0] - shown[1, 0, 0]) / 5 * 32 / 31
        assert 0.7 < width / height < 1.4
        areas.append(width * height / (48 * 64))
    assert 0.06 < min(areas) < 0.2
    assert 0.7 < max(areas) <= 1.03


def test_the_draws_of_a_seed_stay_what_they_are(folder, monkeypatch):
    """Those of seed 7 in epoch 2, as they were before there was AutoAugment."""
    drawn, resize, transpose = [], Image.Image.resize, Image.Image.transpose

    def resized(image, *given, box, **named):
        drawn.append(pytest.approx(box, abs=1e-9))
        return resize(image, *given, box=box, **named)

    def flipped(image, method):
        drawn.append("flip")
        return transpose(image, method)

    monkeypatch.setattr(Image.Image, "resize", resized)
    monkeypatch.setattr(Image.Image, "transpose", flipped)
    split = ImageFolder(root=folder, size=16).split("train").at_epoch(2, 7)
    for index in range(5):
        split[index]
    assert drawn == [
        (6.869931572008191, 2.3330785042901145, 50.706491730757605, 35.323888533807235),
        (3.1995979985257352, 25.88097935963944, 26.63975641438025, 46.922605236255365),
        (26.536708593072774, 11.394776799246307, 63.275819220020686, 47.41375855972691),
        (28.80329798195848, 14.606253579736311, 63.93301727047474, 41.963913913950876),
        "flip",
        (19.460308017340992, 0.5062099961176453, 53.98393655896155, 43.32078466086916),
    ]


# AutoAugment


def test_training_is_augmented_after_cut_and_flip(folder, monkeypatch):
    """By a policy that changes nothing the frames are, bit for bit, those without."""
    sizes = []
    monkeypatch.setattr(images, "augment_image", lambda image, random: sizes.append(image.size) or image)
    plain = ImageFolder(root=folder, size=16).split("train").at_epoch(3, 5)
    frames = [plain[index][0] for index in range(len(plain))]
    assert sizes == []
    split = ImageFolder(root=folder, size=16, autoaugment=True).split("train").at_epoch(3, 5)
    assert all(torch.equal(split[index][0], expected) for index, expected in enumerate(frames))
    assert sizes == [(16, 16)] * len(frames)


def test_augmented_images_are_drawn_anew_in_each_epoch_and_alike_when_asked_again(folder):
    split = ImageFolder(root=folder, size=16, crop=False, flip=0, autoaugment=True).split("train")
    plain = ImageFolder(root=folder, size=16, crop=False, flip=0).split("train")
    places = range(len(split))

    def batch(epoch, seed):
        return torch.stack([frames for frames, _ in split.at_epoch(epoch, seed).__getitems__(places)])

    first = batch(0, 7)
    assert torch.equal(batch(0, 7), first)
    assert torch.equal(torch.stack([split.at_epoch(0, 7)[place][0] for place in places]), first)
    assert not torch.equal(batch(1, 7), first)
    assert not torch.equal(batch(0, 8), first)
    changed = [not torch.equal(frames, plain[place][0]) for place, frames in enumerate(first)]
    assert sum(changed) > len(changed) / 2
    shown = (first * torch.tensor(DEVIATION)[:, None, None] + torch.tensor(MEAN)[:, None, None]) * 255
    assert torch.allclose(shown, shown.round().clamp(0, 255), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["validation", "test"])
def test_what_is_measured_with_is_never_augmented(folder, monkeypatch, name):
    monkeypatch.setattr(images, "augment_image", None)
    split = ImageFolder(root=folder, size=16, autoaugment=True).split(name)
    plain = ImageFolder(root=folder, size=16).split(name)
    for epoch, index in product(range(5), range(len(split))):
        assert torch.equal(split.at_epoch(epoch, 1)[index][0], plain[index][0])


def test_an_augmented_set_keeps_the_contract(folder):
    check_dataset(ImageFolder(root=folder, size=16, autoaugment=True))


# layouts and files


def test_imagenets_layout_gives_the_splits(folder, tmp_path):
    root = tmp_path / "imagenet"
    for part in ("train", "val"):
        (root / part).mkdir(parents=True)
    (folder / "cat").rename(root / "train" / "cat")
    (folder / "dog").rename(root / "train" / "dog")
    for name in ("cat", "dog"):
        (root / "val" / name).mkdir()
        Image.new("RGB", (9, 9)).save(root / "val" / name / "0.JPEG")
    dataset = ImageFolder(root=root, size=8, validation=4, max_train=10)
    assert [len(dataset.split(name)) for name in ("train", "validation", "test")] == [10, 4, 2]
    assert [path.parent.parent.name for path, _ in dataset.split("test").paths] == ["val", "val"]


def test_images_without_classes_are_no_part_to_test_with(folder):
    """ImageNet's ``val`` as it is handed out."""
    (folder / "train").mkdir()
    for name in ("cat", "dog"):
        (folder / name).rename(folder / "train" / name)
    (folder / "val").mkdir()
    Image.new("RGB", (9, 9)).save(folder / "val" / "ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(DataError, match=f"^{folder} holds train with folders of classes, but no such test$"):
        ImageFolder(root=folder)


def test_val_beside_test_is_to_validate_with(folder):
    for part in ("train", "val", "test"):
        (folder / part / "cat").mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(folder / part / "cat" / f"{part}.png")
    for name in ("cat", "dog"):
        shutil.rmtree(folder / name)
    dataset = ImageFolder(root=folder, size=8)
    found = {name: [path.stem for path, _ in dataset.split(name).paths] for name in ("train", "validation", "test")}
    assert found == {"train": ["train"], "validation": ["val"], "test": ["test"]}
    assert dataset.labels("validation").tolist() == [0]


@pytest.mark.parametrize(("kind", "most"), [("uint16", 65535), ("uint8", 255)])
def test_grey_of_16_bits_is_shown_as_that_of_8(folder, kind, most):
    Image.fromarray(np.full((9, 9), most * 3 // 5, kind)).save(folder / "cat" / "00.png")
    split = ImageFolder(root=folder, size=8, crop=False, test=1, validation=1).split("train")
    frames, _ = split[[path.name for path, _ in split.paths].index("00.png")]
    assert np.allclose(frames[0, :, 4, 4], (0.6 - MEAN) / DEVIATION, atol=0.02)


def test_images_of_numbers_without_a_range_are_named(folder):
    Image.fromarray(np.full((9, 9), 0.7, np.float32)).save(folder / "cat" / "a.tiff")
    split = ImageFolder(root=folder, size=8, test=1, validation=1).split("train")
    place = [path.name for path, _ in split.paths].index("a.tiff")
    with pytest.raises(DataError, match=r"a\.tiff: an image of 32 bits a pixel \(mode F\); convert it to 8 or 16$"):
        split[place]


def test_what_is_hidden_is_no_image(folder):
    for name in ("cat/._0.png", ".thumbnails/0.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"of another system")
    dataset = ImageFolder(root=folder, size=8)
    assert dataset.classes == ("cat", "dog")
    assert sum(len(dataset.split(name)) for name in ("train", "validation", "test")) == 24


def test_a_batch_is_its_images(folder):
    split = ImageFolder(root=folder, size=8).split("test")
    frames, labels = next(Batches(split, 3).epoch())
    assert (frames.shape, frames.dtype) == ((4, 3, 3, 8, 8), torch.float32)
    assert all(torch.equal(frames[:, index], split[index][0]) for index in range(3))
    assert labels.tolist() == [split[index][1] for index in range(3)]


@pytest.mark.parametrize("damage", [b"", b"no image", None])
def test_a_damaged_image_is_named(folder, damage):
    path = folder / "cat" / "00.png"
    path.write_bytes(path.read_bytes()[:60] if damage is None else damage)
    split = ImageFolder(root=folder, size=8, test=1, validation=1).split("train")
    place = [each.name for each, _ in split.paths].index("00.png")
    with pytest.raises(DataError, match=rf"^{path}: no image that can be read: "):
        split[place]


def test_an_image_of_too_many_pixels_is_refused(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match="could be decompression bomb"):
        ImageFolder(root=folder, size=8).split("test")[0]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"root": None}, DataError, "image_folder: give root"),
        ({"root": "/nowhere"}, DataError, "image_folder: no folder /nowhere"),
        ({"steps": 0}, OptionError, "steps=0"),
        ({"flip": 2}, OptionError, "flip=2"),
        ({"crop": "yes"}, OptionError, "crop='yes'"),
        ({"autoaugment": "imagenet"}, OptionError, "^autoaugment='imagenet': must be true or false$"),
        ({"autoaugment": 1}, OptionError, "^autoaugment=1: must be true or false$"),
        ({"max_test": 0}, OptionError, "max_test=0"),
        ({"validation": "x"}, OptionError, "validation='x'"),
        ({"size": 10**6}, OptionError, "size=1000000"),
        ({"root": 2024}, OptionError, "root=2024: must be a folder's path"),
    ],
)
def test_bad_options_are_refused(folder, options, error, message):
    with pytest.raises(error, match=message):
        ImageFolder(**{"root": folder, **options})


def test_an_empty_folder_and_a_wrong_split_are_named(folder, tmp_path):
    with pytest.raises(DataError, match=r"holds no folders of classes with \*\.bmp, "):
        ImageFolder(root=tmp_path / "images" / "cat")
    with pytest.raises(UnknownNameError, match=r"image_folder: split: no 'tset'; did you mean 'test'\?"):
        ImageFolder(root=folder).split("tset")
