import numpy as np
import pytest
import torch

from quietspike.core.batches import Batches
from quietspike.core.networks import build_network
from quietspike.core.recipe import Recipe
from quietspike.core.training import train
from quietspike.core.voting import Voting
from quietspike.datasets import Augment, FramedRecordings, Framing, Options, to_frames
from quietspike.datasets.events import EVENT
from quietspike.datasets.loading import Draw, DrawnFrames, StoredFrames
from quietspike.datasets.store import Store

from .conftest import Given, mistakes, random_events

SIZE = (8, 8, 2)
FRAMES = np.random.default_rng(0).integers(0, 256, (6, 3, 2, 4, 4), dtype=np.uint8)


def stored(labels, indices, clips=1):
    """Six clips of frames; those of a sample follow one another."""
    samples = FRAMES.reshape(6 // clips, clips, *FRAMES.shape[1:])[list(indices)]

    def build(asked):
        return (samples[sample] for sample in asked)

    key = {"name": "stored", "clips": clips, "indices": list(indices)}
    store = Store(key, [1, len(samples) - 1], np.uint8, FRAMES.shape[1:], build)
    return StoredFrames(store, np.array(labels), np.array(indices), Voting(clips))


def recordings(number=24):
    return tuple(random_events(seed, 200, SIZE[:2], duration=1000, first=70) for seed in range(number))


def drawn(store=None, labels=(0, 1, 0, 1), indices=(23, 5, 7, 0), **changes):
    def build(asked):
        return (recordings()[indices[sample]] for sample in asked)

    store = store or Store({"name": "drawn", "indices": list(indices)}, [1, 3], EVENT, (), build)
    options = {"framing": Framing(4, window_us=100), "is_random": True, "augment": Augment(), **changes}
    return DrawnFrames(store, np.array(labels), np.array(indices), Draw(SIZE, **options))


def all_of(split):
    return torch.stack([split[index][0] for index in range(len(split))])


# frames that lie ready


def test_a_sample_and_a_batch_agree():
    split = stored([5, 0, 2], [5, 0, 2])
    assert len(split) == 3
    frames, labels = split.__getitems__([2, 0, 2])
    assert frames.shape == (3, 3, 2, 4, 4)
    assert (labels.dtype, labels.tolist()) == (torch.int64, [2, 5, 2])
    for row, index in enumerate([2, 0, 2]):
        sample, label = split[index]
        assert sample.dtype == torch.float32
        assert torch.equal(sample, frames[row].float())
        assert label == labels[row]
        assert isinstance(label, int)
    assert [(frames.numpy() == FRAMES[index]).all() for (frames, _), index in zip(split, [5, 0, 2], strict=True)]
    assert torch.equal(split[-1][0], split[2][0])
    with pytest.raises(IndexError):
        split[3]


def test_the_clips_of_a_sample_follow_one_another():
    split = stored([7, 8], [2, 0], clips=2)
    assert len(split) == 4
    assert [label for _, label in split] == [7, 7, 8, 8]
    assert (all_of(split).numpy() == FRAMES[[4, 5, 0, 1]]).all()
    frames, labels = split.__getitems__([3, 0, 1])
    assert (frames.numpy() == FRAMES[[1, 4, 5]]).all()
    assert labels.tolist() == [8, 7, 7]


def test_a_batch_of_one_keeps_its_axis():
    assert stored([5], [5]).__getitems__([0])[0].shape == (1, 3, 2, 4, 4)


def test_what_is_stored_is_not_written_to():
    split = stored([5, 0], [5, 0])
    sample, _ = split[0]
    batch, labels = split.__getitems__([0, 1])
    sample.zero_(), batch.zero_(), labels.zero_()
    assert (split[0][0].numpy() == FRAMES[5]).all()
    assert split.labels.tolist() == [5, 0]


def test_torchs_loader_takes_it():
    loader = torch.utils.data.DataLoader(stored(range(6), range(6)), batch_size=4, collate_fn=tuple)
    assert [labels.tolist() for _, labels in loader] == [[0, 1, 2, 3], [4, 5]]


WORKERS = """
import torch
from quietspike.datasets import DigitsDVS
for options in ({}, {"start": "random", "augment": {"flip": 0.5}}):
    digits = DigitsDVS(size=8, steps=6, window_us=50_000, train=40, validation=10, test=10, **options)
    split = digits.split("train")
    for workers in ({}, {"num_workers": 1, "multiprocessing_context": "spawn"}):
        loader = torch.utils.data.DataLoader(split, batch_size=16, collate_fn=tuple, **workers)
        batches = [(frames.clone(), labels.clone()) for frames, labels in loader]
        frames, labels = (torch.cat(parts) for parts in zip(*batches))
        same = torch.equal(frames.float(), torch.stack([split[index][0] for index in range(40)]))
        print(len(batches), same, int(frames.sum()), labels.tolist())
"""


def test_worker_processes_read_the_same(python):
    output, errors = python(WORKERS).communicate(timeout=300)
    assert mistakes(errors) == []
    stored, with_workers, drawn, drawn_with_workers = output.splitlines()
    assert stored == with_workers
    assert drawn == drawn_with_workers
    assert stored.startswith("3 True ")
    assert drawn.startswith("3 True ")


# frames that are drawn


def test_a_sample_and_a_batch_agree_where_they_are_drawn():
    split = drawn(augment=Augment(flip=0.5, noise=0.2)).at_epoch(3, 9)
    frames, labels = split.__getitems__([2, 0, 2])
    assert labels.tolist() == [0, 0, 0]
    assert torch.equal(frames.float(), torch.stack([split[index][0] for index in (2, 0, 2)]))
    with pytest.raises(IndexError):
        split[4]


def test_epochs_seeds_and_samples_draw_for_themselves_and_the_same_again():
    split = drawn(indices=(5, 5, 7, 5), augment=Augment(drop_random=0.5))
    one = all_of(split.at_epoch(1, 0))
    assert torch.equal(all_of(split.at_epoch(2, 0).at_epoch(1, 0)), one)
    assert torch.equal(one[0], one[1])  # one recording
    for other in (split.at_epoch(2, 0), split.at_epoch(1, 1), drawn(indices=(5, 5, 7, 5)).at_epoch(1, 0)):
        assert not torch.equal(all_of(other), one)
    assert torch.equal(all_of(split), all_of(split.at_epoch(0, 0)))


def test_a_random_clip_is_a_piece_of_the_recording_of_any_start():
    """Recordings from 70 to 1070 µs, clips of 400: all starts from 70 to 670."""
    events, split, seen = recordings()[23], drawn(), set()
    every = {
        to_frames(events, SIZE, Framing(4, window_us=100), (start, start + 400)).tobytes(): start
        for start in range(70, 671)
    }
    for epoch in range(200):
        seen.add(every[split.at_epoch(epoch, 0)[0][0].byte().numpy().tobytes()])
    assert min(seen) < 120
    assert max(seen) > 620
    assert len(seen) > 80


@pytest.mark.parametrize(
    ("changes", "framing", "span"),
    [
        ({"is_random": False}, Framing(4, window_us=100), (70, 470)),
        ({"is_random": False}, Framing(4), None),
        ({"is_random": False}, Framing(4, by="count"), None),
        ({"is_random": False, "span": (0, 2000)}, Framing(4), (0, 2000)),
        ({"is_random": False, "span": (0, 2000)}, Framing(4, window_us=100), (0, 400)),
        ({"is_random": True}, Framing(4, window_us=300), (70, 1270)),  # longer than the recording
    ],
)
def test_without_anything_to_draw_frames_are_the_recordings(changes, framing, span):
    split = drawn(framing=framing, **changes)
    for (frames, _), index in zip(split, split.indices, strict=True):
        assert (frames.numpy() == to_frames(recordings()[index], SIZE, framing, span)).all()


def test_windows_stay_where_the_first_and_the_last_event_are_dropped():
    """No window then has more events than before, and those that keep theirs have them in the same step."""
    framing = Framing(10)
    split = drawn(framing=framing, is_random=False, augment=Augment(drop_time=0.5))
    whole, changed = to_frames(recordings()[23], SIZE, framing), 0
    for epoch in range(40):
        frames = split.at_epoch(epoch, 0)[0][0].numpy()
        assert (frames <= whole).all()
        steps = np.flatnonzero((frames != whole).any(axis=(1, 2, 3)))
        assert steps.tolist() == list(range(steps.min(initial=10), steps.max(initial=-1) + 1))
        changed += len(steps) > 0
    assert changed > 10


def test_what_is_changed_does_not_decide_where_a_clip_begins():
    flipped, plain = (drawn(augment=Augment(flip=flip)).at_epoch(2, 6) for flip in (1, 0))
    assert torch.equal(all_of(flipped), all_of(plain).flip(-1))


def test_a_clip_is_cut_out_before_it_is_changed():
    """Two events in the clip, so about ten of noise; the recording's other thousand have no part in it."""
    events = np.concatenate([random_events(0, 2, SIZE[:2], 100), random_events(1, 1000, SIZE[:2], 1000, first=400)])
    store = Store({"name": "uneven"}, [1], EVENT, (), lambda asked: (events for _ in asked))
    changes = {"store": store, "indices": [0], "labels": [1], "is_random": False}
    split = drawn(**changes, augment=Augment(noise=5))
    totals = [split.at_epoch(epoch, 0)[0][0].sum().item() for epoch in range(50)]
    assert abs(np.mean(totals) - 12) < 5 * np.sqrt(10 / 50)


def test_a_recording_without_events_stays_empty():
    store = Store({"name": "empty"}, [1], EVENT, (), lambda asked: (np.empty(0, EVENT) for _ in asked))
    for framing in (Framing(4), Framing(4, window_us=100), Framing(4, by="count")):
        split = drawn(
            store=store,
            indices=[0],
            labels=[1],
            framing=framing,
            augment=Augment(noise=1, drop_time=1),
        )
        assert split[0][0].shape == (4, 2, 8, 8)
        assert not split[0][0].any()


# training


@pytest.fixture
def dataset():
    parts = {"train": [Given(tuple(range(3)) * 8, recordings())], "test": [Given((0, 1, 2), recordings(3))]}
    options = Options(
        steps=4, window_us=100, start="random", clips=3, augment={"flip": 0.5, "drop_area": 0.3}, validation=6
    )
    return FramedRecordings("given", parts, SIZE, ("a", "b", "c"), options)


def network_for(dataset):
    return build_network({"name": "conv3", "widths": [4, 4, 4], "hidden": [12]}, {"name": "lif"}, None, dataset, 0)


def test_training_with_drawn_frames_goes_on_bitwise_where_it_was_stopped(dataset, tmp_path):
    recipe = Recipe(epochs=4, batch_size=7, learning_rate=0.01)
    whole, stopped, resumed = (network_for(dataset) for _ in range(3))
    rows = [row.train_loss for row in train(whole, dataset, recipe, seed=3)]
    begun = train(stopped, dataset, recipe, seed=3, checkpoint=tmp_path / "it")
    assert [next(begun).train_loss for _ in range(2)] == rows[:2]
    assert [row.train_loss for row in train(resumed, dataset, recipe, seed=3, checkpoint=tmp_path / "it")] == rows
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
        assert "weight" not in name or not torch.equal(tensor, stopped.state_dict()[name]), name


def test_each_epoch_trains_with_frames_of_its_own_and_validates_with_the_same(dataset):
    batches = Batches(dataset.split("train"), 18, seed=3)
    seen = []
    for epoch in (0, 1, 0):
        [(frames, labels)] = batches.epoch(epoch)
        assert frames.shape == (4, 18, 2, 8, 8)
        order = torch.argsort(labels, stable=True)
        seen.append(sorted(frames[:, i].numpy().tobytes() for i in order))
    assert seen[0] == seen[2] != seen[1]
    validation = Batches(dataset.split("validation"), 5)
    assert [[torch.equal(a, b) for (a, _), (b, _) in zip(validation.epoch(0), validation.epoch(1), strict=True)]] == [
        [True] * 4
    ]
