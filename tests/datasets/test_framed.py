import numpy as np
import pytest
import torch
from torch import nn

from quietspike.core import DataError, OptionError, UnknownNameError
from quietspike.core.batches import Batches
from quietspike.core.evaluation import evaluate
from quietspike.core.recipe import Recipe
from quietspike.core.testing import check_dataset
from quietspike.core.voting import Voting
from quietspike.datasets import FramedRecordings, Framing, Options, make_events, to_frames
from quietspike.datasets.clips import spread_clips
from quietspike.datasets.loading import DrawnFrames, StoredFrames

from .conftest import Given, random_events

SIZE = (8, 6, 2)
SPLITS = ("train", "validation", "test")
FIRST = {"train": 0, "validation": 20, "test": 100, "all": 0}


def given(number, first=0):
    """Two recordings a source, of classes in turn."""
    pairs = [(seed, seed + 1) for seed in range(first, first + number, 2)]
    return [Given((0, 1), tuple(random_events(seed, 40, SIZE[:2]) for seed in pair), str(pair)) for pair in pairs]


def framed(parts=None, **options):
    parts = parts or {"train": given(20), "test": given(6, first=100)}
    return FramedRecordings("given", parts, SIZE, ("even", "odd"), Options(**options))


def events_of(dataset, name):
    return [dataset.sample(name, index).events for index in range(len(dataset.labels(name)))]


def seeds_of(dataset, name):
    """Which of the seeds' recordings a split holds."""
    known = {random_events(seed, 40, SIZE[:2]).tobytes(): seed for seed in [*range(40), *range(100, 106)]}
    return [known[events.tobytes()] for events in events_of(dataset, name)]


# splits


@pytest.mark.parametrize(
    ("parts", "options", "sizes"),
    [
        ({"train": 20, "test": 6}, {}, (16, 4, 6)),
        ({"train": 20, "test": 6}, {"validation": 0.5}, (10, 10, 6)),
        ({"train": 20, "test": 6}, {"validation": 3, "test": 0.5}, (17, 3, 6)),
        ({"train": 20, "validation": 8, "test": 6}, {"validation": 0.5}, (20, 8, 6)),
        ({"all": 40}, {}, (26, 6, 8)),  # a fifth of 40, and a fifth of the other 32, 6.4, rounded
        ({"all": 40}, {"test": 10, "validation": 0.1}, (27, 3, 10)),
        ({"all": 40}, {"test": 0.5, "validation": 5}, (15, 5, 20)),
    ],
)
def test_parts_become_three_splits_that_share_nothing(parts, options, sizes):
    dataset = framed({part: given(number, FIRST[part]) for part, number in parts.items()}, **options)
    check_dataset(dataset)
    assert dataset.sizes() == parts
    held = {name: seeds_of(dataset, name) for name in SPLITS}
    assert tuple(map(len, held.values())) == sizes
    everyone = [seed for part, number in parts.items() for seed in range(FIRST[part], FIRST[part] + number)]
    assert sorted(seed for seeds in held.values() for seed in seeds) == sorted(everyone)
    for name, seeds in held.items():
        assert dataset.split(name).labels.tolist() == [seed % 2 for seed in seeds]
        assert abs(sum(seed % 2 for seed in seeds) - len(seeds) / 2) <= 1
    if "test" in parts:
        assert held["test"] == list(range(100, 106))


def test_the_seed_decides_what_is_held_out_and_nothing_else():
    for parts in ({"train": given(20), "test": given(6, first=100)}, {"all": given(40)}):
        held = [
            [seeds_of(framed(parts, seed=seed, **more), name) for name in SPLITS]
            for seed, more in ((0, {}), (0, {"steps": 3}), (1, {}))
        ]
        assert held[0] == held[1]
        assert held[0][1] != held[2][1]


def test_limits_take_some_of_the_same_split_and_keep_the_classes_shares():
    limits = {"max_train": 6, "max_validation": 2, "max_test": 100}
    whole, some = framed(), framed(**limits)
    for name, number in zip(SPLITS, (6, 2, 6), strict=True):
        chosen = seeds_of(some, name)
        assert len(chosen) == number == len(some.split(name))
        assert set(chosen) <= set(seeds_of(whole, name))
        assert sum(seed % 2 for seed in chosen) == number / 2
        for index, seed in enumerate(chosen):
            frames = to_frames(random_events(seed, 40, SIZE[:2]), SIZE, Framing(8))
            assert (some.split(name)[index][0].numpy() == frames).all()


@pytest.mark.parametrize(
    ("parts", "options", "message"),
    [
        ({"train": 4, "test": 2}, {"validation": 4}, "validation=4: must hold out some of 4 samples, and not all"),
        ({"all": 4}, {"test": 0.01}, "test=0.01: must hold out some of 4 samples, and not all"),
        ({"all": 4}, {"test": 3, "validation": 2}, "validation=2: must hold out some of 1 samples, and not all"),
    ],
)
def test_a_set_too_small_to_be_divided_is_refused(parts, options, message):
    with pytest.raises(OptionError, match=f"^{message}"):
        framed({part: given(number) for part, number in parts.items()}, **options).split("train")


@pytest.mark.parametrize("ask", [lambda dataset: dataset.split("trian"), lambda dataset: dataset.sample("trian", 0)])
def test_an_unknown_split_comes_with_the_near_match(ask):
    with pytest.raises(UnknownNameError, match=r"^given: split: no 'trian'; did you mean 'train'"):
        ask(framed())


def test_recordings_of_a_part_are_as_they_are_read():
    dataset = framed()
    assert np.array_equal(dataset.recording("test", 3), random_events(103, 40, SIZE[:2]))
    with pytest.raises(UnknownNameError, match=r"^given: part: no 'tset'; did you mean 'test'"):
        dataset.recording("tset", 0)
    for index in (-1, 6):
        with pytest.raises(DataError, match=f"^given: no recording {index}; test has 6$"):
            dataset.recording("test", index)


# frames


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"steps": 3},
        {"by": "count"},
        {"window_us": 5000},
        {"downscale": 3},
        {"binary": True},
        {"steps": 2, "by": "count", "downscale": 2},
    ],
)
def test_each_framing_has_frames_of_its_own(options):
    framed().split("test")  # another framing's cache entry, not to be taken for this one's
    dataset = framed(**options)
    framing = Framing(**{"steps": 8, **options})
    assert (dataset.steps, dataset.input_shape) == (framing.steps, framing.input_shape(SIZE))
    split = dataset.split("test")
    for index in range(6):
        expected = to_frames(random_events(100 + index, 40, SIZE[:2]), SIZE, framing)
        assert (split[index][0].numpy() == expected).all()


def test_a_known_span_frames_all_recordings_alike():
    """Ten windows of 10 µs, and events at 10 and 89; else the windows begin with the first and end with the last."""
    events = make_events([0, 1], [0, 0], [10, 89], [1, 1])
    parts = {"train": given(4), "test": [Given((0,), (events,))]}
    for span, steps in (((0, 100), [1, 8]), (None, [0, 9])):
        dataset = FramedRecordings("given", parts, SIZE, ("even", "odd"), Options(steps=10), span)
        frames, _ = dataset.split("test")[0]
        assert frames.sum(dim=(1, 2, 3)).nonzero().flatten().tolist() == steps


def test_changed_recordings_are_seen():
    one = framed({"train": [Given((0, 1, 0), (random_events(1),) * 3, "one")], "test": given(2)}, validation=1)
    other = framed({"train": [Given((0, 1, 0), (random_events(2),) * 3, "other")], "test": given(2)}, validation=1)
    assert (one.split("train")[0][0] != other.split("train")[0][0]).any()


# clips


def test_frames_of_clips_are_those_of_evenly_spaced_spans():
    """Recordings of 300 ms, clips of 4 windows of 20 ms: each 80 ms, every 100 ms."""
    framed(steps=4, window_us=20_000).split("test")  # another number's cache entry
    dataset = framed(steps=4, window_us=20_000, clips=3)
    framing = Framing(4, window_us=20_000)
    for name, number in (("train", 1), ("validation", 3), ("test", 3)):
        split = dataset.split(name)
        recordings = events_of(dataset, name)
        assert split.voting == Voting(number, "majority")
        assert len(split) == number * len(recordings)
        for index in range(len(split)):
            frames, label = split[index]
            sample, clip = divmod(index, number)
            start = clip * 100_000
            expected = to_frames(recordings[sample], SIZE, framing, (start, start + 80_000))
            assert (frames.numpy() == expected).all()
            assert label == split.labels[sample]


def test_clips_are_those_of_events_on_the_sensor_in_any_order_and_of_none():
    """A damaged event outside of it must not move where clips begin."""
    events = random_events(1, 40, SIZE[:2], first=1000)
    damaged = np.concatenate([make_events([99], [0], [10**9], [1]), events[::-1], make_events([0], [-1], [-5], [1])])
    parts = {"train": given(4), "test": [Given((0, 1), (damaged, damaged[:1]))]}
    split = framed(parts, steps=4, window_us=20_000, clips=3).split("test")
    for clip, span in enumerate(spread_clips((1000, 301_000), 80_000, 3)):
        assert (split[clip][0].numpy() == to_frames(events, SIZE, Framing(4, window_us=20_000), span)).all()
        assert not split[3 + clip][0].any()


class Counts(nn.Module):
    """Chooses the class whose pixel in row 0 has most events."""

    def forward(self, frames):
        return frames[:, :, :, 0, :3].sum(dim=(0, 2))


def three_clips(*pixels):
    """Of 10 µs each: in row 0 the events of each, and in another two that say when the recording begins and ends."""
    events = [(x, 0, 10 * clip + place, 1) for clip, row in enumerate(pixels) for place, x in enumerate(row, 1)]
    return make_events(*np.array([(0, 5, 0, 1), *events, (0, 5, 29, 1)]).T)


@pytest.mark.parametrize(("vote", "accuracy"), [("majority", 1 / 3), ("plurality", 2 / 3)])
def test_the_clips_of_a_sample_vote(vote, accuracy):
    """One sample is right in two clips; one in one of three that differ, and most of its events say so; one in one."""
    samples = three_clips([1], [1], [0]), three_clips([2] * 3, [1] * 8, [0]), three_clips([1], [0], [1])
    parts = {"train": given(4), "test": [Given((1, 1, 0), samples)]}
    split = framed(parts, steps=2, window_us=5, clips=3, vote=vote).split("test")
    assert [Counts()(frames[:, None]).argmax().item() for frames, _ in split] == [1, 1, 0, 2, 1, 0, 1, 0, 1]
    batches = Batches(split, 2)
    shown = evaluate(Counts(), batches.epoch(), Recipe(), torch.device("cpu"), batches.voting)
    assert shown.accuracy == pytest.approx(accuracy)


# what is drawn


@pytest.mark.parametrize("options", [{"start": "random", "window_us": 20_000}, {"augment": {"flip": 0.5}}])
def test_only_training_frames_are_drawn(options):
    dataset = framed(**options)
    assert dataset.options.is_drawn
    kinds = [type(dataset.split(name)) for name in SPLITS]
    assert kinds == [DrawnFrames, StoredFrames, StoredFrames]
    check_dataset(dataset)
    assert not framed(augment={"flip": 0.0}).options.is_drawn


# options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0: must be a whole number of at least 1"),
        ({"steps": 2.5}, "steps=2.5: must be a whole number of at least 1"),
        ({"by": "events"}, "by='events': must be 'time' or 'count'"),
        ({"window_us": 0}, "window_us=0: must be a whole number of at least 1"),
        ({"window_us": 5, "by": "count"}, "window_us=5: goes with by='time', not with by='count'"),
        ({"downscale": 0}, "downscale=0: must be a whole number of at least 1"),
        ({"binary": "no"}, "binary='no': must be true or false"),
        ({"start": "last"}, "start='last': must be 'first' or 'random'"),
        ({"start": "random"}, "start='random': goes with window_us; without it a sample is the whole recording"),
        ({"clips": 3}, "clips=3: goes with window_us; without it a sample is the whole recording"),
        ({"clips": 0}, "clips=0: must be a whole number of at least 1"),
        ({"vote": "most"}, "vote='most': must be 'majority' or 'plurality'"),
        ({"augment": {"flip": 2}}, "flip=2: must be a finite number from 0 to 1"),
        ({"augment": "flip"}, "augment='flip': must be a mapping, as {flip: 0.5} is"),
        *(
            ({name: value}, f"{name}={value}: must be a share above 0 and below 1, or a number of samples")
            for name in ("validation", "test")
            for value in (0.0, 1.0, -0.5, 1.5, float("nan"))
        ),
        *(
            ({name: value}, f"{name}={value!r}: must be a whole number of at least 1")
            for name in ("validation", "test")
            for value in (0, -3, True, "0.2", None)
        ),
        *(
            ({name: value}, f"{name}={value!r}: must be a whole number of at least 1")
            for name in ("max_train", "max_validation", "max_test")
            for value in (0, 0.5, "many")
        ),
        ({"seed": -1}, "seed=-1: must be a whole number of at least 0"),
        ({"seed": None}, "seed=None: must be a whole number of at least 0"),
    ],
)
def test_a_bad_option_is_named_with_its_value(options, message):
    with pytest.raises(OptionError) as raised:
        Options.of("given", {}, options)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stepz": 3}, "datasets: given: option: no 'stepz'; did you mean 'steps'?"),
        ({"window": 3}, "datasets: given: option: no 'window'; did you mean 'window_us'?"),
        ({"augment": {"flipp": 3}}, "augment: no 'flipp'; did you mean 'flip'?"),
    ],
)
def test_an_unknown_option_comes_with_the_near_match(options, message):
    with pytest.raises(UnknownNameError) as raised:
        Options.of("given", {}, options)
    assert str(raised.value) == message


def test_a_sets_own_defaults_stand_behind_what_is_chosen():
    options = Options.of("given", {"steps": 60, "window_us": 15_000, "clips": 10}, {"steps": 20, "clips": 1})
    assert (options.steps, options.window_us, options.clips, options.downscale) == (20, 15_000, 1, 1)


@pytest.mark.parametrize(("chosen", "clips"), [({"by": "count"}, 1), ({"window_us": None}, 1), ({"steps": 9}, 10)])
def test_defaults_of_windows_go_with_windows(chosen, clips):
    defaults = {"steps": 60, "window_us": 15_000, "downscale": 4, "start": "random", "clips": 10}
    options = Options.of("a_set", defaults, chosen)
    assert (options.clips, options.window_us) == (clips, 15_000 if clips > 1 else None)
    assert options.downscale == 4
    with pytest.raises(OptionError, match="clips=10: goes with window_us"):
        Options.of("a_set", defaults, {**chosen, "window_us": None, "clips": 10})
