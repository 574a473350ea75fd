"""Recordings as a data set: three splits of frames, by options that all sets of recordings have in common."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from quietspike.core.contracts import SplitName
from quietspike.core.errors import DataError, OptionError, unknown_name
from quietspike.core.voting import Voting
from quietspike.datasets.augment import Augment
from quietspike.datasets.clips import Span, spread_clips
from quietspike.datasets.events import EVENT, Events, inside, sort_by_time
from quietspike.datasets.frames import Frames, SensorSize, to_frames
from quietspike.datasets.loading import Draw, DrawnFrames, Labels, StoredFrames
from quietspike.datasets.options import Options
from quietspike.datasets.sources import Items, Parts, Source, fingerprint, items_of, labels_of, read_items
from quietspike.datasets.splits import Indices, Part, divide, limited
from quietspike.datasets.store import Rows, Store

REVISION = 2
"""Of how recordings become rows of the cache: raise it when that changes, or old caches would stay."""

SHARD_SAMPLES = 64

_MOST_BYTES = 1 << 30  # of a sample's frames; what takes more was meant otherwise


class Sample(NamedTuple):
    """What a person looks at.

    Args:
        frames: [T, 2, H, W]; [T, 3, H, W] of an image.
        label: its class.
        events: of the whole recording, as they are read; ``None`` of what has none.
        span: start and end in µs of what the frames show, where that is not all of it.
    """

    frames: npt.NDArray[Any]
    label: int
    events: Events | None
    span: Span | None


class FramedRecordings:
    """A data set out of recordings.

    Args:
        name: of the set.
        parts: its recordings.
        sensor_size: width, height, polarities.
        classes: names by index.
        options: how recordings become samples.
        span: when each recording starts and ends in µs, where they are alike and known; framing by time then starts
            and ends there, not with the first and the last event.
        root: whose recordings these are, where a name does not say that.

    Raises:
        OptionError: if the frames of a sample would take more than 1 GiB.
        ValueError: if there is neither ``all`` nor both a part to train and one to test with.
    """

    def __init__(
        self,
        name: str,
        parts: Parts,
        sensor_size: SensorSize,
        classes: tuple[str, ...],
        options: Options,
        span: Span | None = None,
        root: Path | None = None,
    ) -> None:
        if parts.keys() not in ({"all"}, {"train", "test"}, {"train", "validation", "test"}):
            raise ValueError(f"{name}: parts {sorted(parts)}; give all, or train and test and perhaps validation")
        self.classes, self.sensor_size, self.options = classes, sensor_size, options
        self.steps = options.steps
        self.input_shape = options.framing.input_shape(sensor_size)
        self._name, self._span, self._root = name, span, root
        self._parts: dict[Part, Items] = {part: items_of(sources) for part, sources in parts.items()}
        if options.steps * math.prod(self.input_shape) > _MOST_BYTES:
            shape = "x".join(map(str, (options.steps, *self.input_shape)))
            raise OptionError(f"steps={options.steps}: a sample of {shape} takes more than 1 GiB; downscale more, too")

    def split(self, name: SplitName) -> StoredFrames | DrawnFrames:
        """The samples of ``train``, ``validation`` or ``test``; read and cached at first use.

        Raises:
            UnknownNameError: if it is none of the three.
            DataError: if a recording is damaged, or the cache cannot be written.
        """
        items, labels, indices = self._choose(name)
        if self._is_drawn(name):
            return DrawnFrames(self._store_events(items), labels, indices, self._draw)
        voting = self._voting(name)
        return StoredFrames(self._store_frames(items, voting.clips), labels, indices, voting)

    def labels(self, name: SplitName) -> Labels:
        """The class of each of a split's samples, [N]; no recording is read."""
        return self._choose(name)[1]

    def sample(self, name: SplitName, index: int, clip: int = 0) -> Sample:
        """One sample of a split, made from its recording alone; of one that is drawn, the first epoch's with seed 0.

        Raises:
            OptionError: if the split has no such sample, or the sample no such clip.
            DataError: if the recording is damaged.
        """
        items, labels, _ = self._choose(name)
        clips = 1 if self._is_drawn(name) else self._voting(name).clips
        for what, number, count in (("index", index, len(items)), ("clip", clip, clips)):
            if not 0 <= number < count:
                raise OptionError(f"{what}={number}: {name} has 0 to {count - 1}")
        events, label = next(read_items([items[index]])), int(labels[index])
        if self._is_drawn(name):
            frames, span = self._draw.frames(self._usable(events), np.random.default_rng(index))
            return Sample(frames, label, events, span)
        spans = self._clips(events, clips)
        return Sample(self._frames(events, clips)[clip], label, events, spans[clip] if spans else self._span)

    def recording(self, part: Part, index: int) -> Events:
        """The events of one recording of a part, as they are read.

        Raises:
            UnknownNameError: if the set has no such part.
            DataError: if the part has no such recording, or it is damaged.
        """
        if part not in self._parts:
            raise unknown_name(f"{self._name}: part", part, self._parts)
        items = self._parts[part]
        if not 0 <= index < len(items):
            raise DataError(f"{self._name}: no recording {index}; {part} has {len(items)}")
        return next(read_items([items[index]]))

    def sizes(self) -> dict[str, int]:
        """How many recordings each part has."""
        return {part: len(items) for part, items in self._parts.items()}

    def _choose(self, name: SplitName) -> tuple[Items, Labels, Indices]:
        """The recordings of a split, their classes, and their places in the part that they are of."""
        if name not in ("train", "validation", "test"):
            raise unknown_name(f"{self._name}: split", name, ("train", "validation", "test"))
        options = self.options
        labels = {part: labels_of(items) for part, items in self._parts.items()}
        part, chosen = divide(labels, name, {"validation": options.validation, "test": options.test}, options.seed)
        known = np.array(labels[part], dtype=np.int64)[chosen]
        most = {"train": options.max_train, "validation": options.max_validation, "test": options.max_test}[name]
        kept = limited(known, most, options.seed)
        return [self._parts[part][index] for index in chosen[kept]], known[kept], chosen[kept]

    def _is_drawn(self, name: SplitName) -> bool:
        return name == "train" and self.options.is_drawn

    def _voting(self, name: SplitName) -> Voting:
        return Voting(1 if name == "train" else self.options.clips, self.options.vote)

    @property
    def _draw(self) -> Draw:
        options = self.options
        is_random, augment = options.start == "random", Augment.of(options.augment)
        return Draw(self.sensor_size, options.framing, is_random, augment, self._span)

    def _store_frames(self, items: Items, clips: int) -> Store:
        framing = self.options.framing
        row = (framing.steps, *self.input_shape)
        key = {"frames": asdict(framing), "clips": clips, "span": self._span}
        build = partial(self._build_frames, items, clips)  # no closure, which no other process could be sent
        return Store(self._key(items, key), _shards(items), np.uint8, row, build)

    def _build_frames(self, items: Items, clips: int, samples: Sequence[int]) -> Generator[Rows, None, None]:
        for events in read_items([items[sample] for sample in samples]):
            yield self._frames(events, clips)

    def _frames(self, events: Events, clips: int) -> Frames:
        """Of each clip, [clips, T, 2, H, W]."""
        framing = self.options.framing
        whole = self._span if framing.by == "time" else None
        spans: Sequence[Span | None] = self._clips(events, clips) or [whole]
        return np.stack([to_frames(events, self.sensor_size, framing, span) for span in spans])

    def _clips(self, events: Events, clips: int) -> list[Span]:
        """When each of several clips starts and ends; none for a recording that is framed as a whole."""
        framing = self.options.framing
        if framing.window_us is None or clips == 1:
            return []
        width, height, _ = self.sensor_size
        t = inside(events, width, height)["t"]
        recorded = self._span or ((int(t.min()), int(t.max()) + 1) if len(t) else (0, 1))
        return spread_clips(recorded, framing.steps * framing.window_us, clips)

    def _store_events(self, items: Items) -> Store:
        key = self._key(items, {"events": "on the sensor, in order of time"})
        return Store(key, _shards(items), EVENT, (), partial(self._build_events, items))

    def _build_events(self, items: Items, samples: Sequence[int]) -> Generator[Rows, None, None]:
        for events in read_items([items[sample] for sample in samples]):
            yield self._usable(events)

    def _usable(self, events: Events) -> Events:
        """Those on the sensor, in order of time."""
        width, height, _ = self.sensor_size
        return sort_by_time(inside(events, width, height))

    def _key(self, items: Items, rows: Mapping[str, Any]) -> dict[str, Any]:
        recordings = fingerprint(items)
        return {
            "name": self._name,
            "revision": REVISION,
            "recordings": recordings,
            "samples": len(items),
            "sensor_size": self.sensor_size,
            "root": None if self._root is None else str(self._root.resolve()),
            **rows,
        }


def _shards(items: Items) -> list[int]:
    """Samples of each shard; a source's stay together, since it is read as a whole."""
    shards = [0]
    before: Source | None = None
    for source, _ in items:
        if source is not before and shards[-1] >= SHARD_SAMPLES:
            shards.append(0)
        shards[-1] += 1
        before = source
    return shards if items else []
