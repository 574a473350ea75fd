"""Splits: frames that lie ready on disk, and frames that are made anew from events in each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from quietspike.core.seeds import derive_seed
from quietspike.core.voting import ONE_CLIP, Voting
from quietspike.datasets.augment import Augment
from quietspike.datasets.clips import Span, draw_clip, spread_clips
from quietspike.datasets.events import Events, slice_by_time
from quietspike.datasets.frames import Frames, Framing, SensorSize, to_frames
from quietspike.datasets.store import Store

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class StoredFrames:
    """A split of frames that lie ready.

    Args:
        store: a row is a clip's frames [T, 2, H, W] uint8; each sample has as many as vote.
        labels: [N], of the samples.
        indices: [N], which recordings of their part they are.
        voting: how a sample's clips decide.

    Shape:
        ``split[i]`` → ([T, 2, H, W] float32, int); ``split.__getitems__(indices)`` → ([B, T, 2, H, W] uint8, [B]
        int64). A sample's clips follow one another.
    """

    store: Store
    labels: Labels
    indices: Labels
    voting: Voting = ONE_CLIP

    def __len__(self) -> int:
        return len(self.labels) * self.voting.clips

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        sample, clip = divmod(range(len(self))[index], self.voting.clips)
        frames = np.array(self.store.rows(sample)[clip])
        return torch.from_numpy(frames).to(torch.float32), int(self.labels[sample])

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """A batch, in the order asked for."""
        samples, clips = np.divmod(np.asarray(indices, dtype=np.int64), self.voting.clips)
        rows = [self.store.rows(sample)[clip] for sample, clip in zip(samples.tolist(), clips, strict=True)]
        return _stack(rows), torch.from_numpy(self.labels[samples])


@dataclass(frozen=True)
class Draw:
    """How frames to train with are drawn from a recording.

    Args:
        sensor_size: width, height, polarities.
        framing: how events become frames.
        is_random: whether a clip begins anywhere; else with the first event.
        augment: changes the clip's events.
        span: when each recording starts and ends in µs, where that is known.
    """

    sensor_size: SensorSize
    framing: Framing
    is_random: bool
    augment: Augment
    span: Span | None = None

    def frames(self, events: Events, random: np.random.Generator) -> tuple[Frames, Span | None]:
        """Frames of events on the sensor in order of time, and the time that they show."""
        span = None
        if len(events) and self.framing.by == "time":  # before noise could move its ends
            span = self.span or (int(events["t"][0]), int(events["t"][-1]) + 1)
            if self.framing.window_us is not None:
                length = self.framing.steps * self.framing.window_us
                span = draw_clip(span, length, random) if self.is_random else spread_clips(span, length, 1)[0]
                events = slice_by_time(events, *span)
        events = self.augment.apply(events, self.sensor_size[:2], random)
        return to_frames(events, self.sensor_size, self.framing, span), span


@dataclass(frozen=True)
class DrawnFrames:
    """A split to train with, whose slices or augmentation are drawn anew in each epoch.

    Args:
        store: a row is an event; a sample's are in order of time.
        labels: [N], of the samples.
        indices: [N], which recordings of their part they are.
        draw: makes frames of a sample's events.
        epoch: whose frames these are.
        seed: of the run; with the epoch and the recording it decides on all that is drawn.

    Shape:
        as ``StoredFrames``.
    """

    store: Store
    labels: Labels
    indices: Labels
    draw: Draw
    epoch: int = 0
    seed: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        sample = range(len(self))[index]
        return torch.from_numpy(self._draw(sample)).to(torch.float32), int(self.labels[sample])

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """A batch, in the order asked for."""
        frames = _stack([self._draw(int(index)) for index in indices])
        return frames, torch.from_numpy(self.labels[np.asarray(indices)])

    def at_epoch(self, number: int, seed: int) -> DrawnFrames:
        """The split as a run of that seed sees it in that epoch."""
        return replace(self, epoch=number, seed=seed)

    def _draw(self, sample: int) -> Frames:
        recording = int(self.indices[sample])
        random = np.random.default_rng([derive_seed(self.seed, "frames", self.epoch), recording])
        frames, _ = self.draw.frames(self.store.rows(sample), random)
        return frames


def _stack(frames: Sequence[Frames]) -> Tensor:
    """[B, T, 2, H, W], laid out with steps first in memory, as networks want it."""
    stacked = np.empty((frames[0].shape[0], len(frames), *frames[0].shape[1:]), dtype=np.uint8)
    for place, sample in enumerate(frames):
        stacked[:, place] = sample
    return torch.from_numpy(stacked).transpose(0, 1)
