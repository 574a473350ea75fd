"""Recordings as a data set: three splits of frames, by options that all sets of recordings have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from quietspike.core.checks import check_whole
from quietspike.core.contracts import SplitName
from quietspike.core.errors import DataError, OptionError, unknown_name
from quietspike.core.voting import Voting
from quietspike.datasets.augment import Augment
from quietspike.datasets.clips import Clips, Span, spread_clips
from quietspike.datasets.events import EVENT, Events, inside, sort_by_time
from quietspike.datasets.frames import Frames, Framing, SensorSize, to_frames
from quietspike.datasets.loading import Draw, DrawnFrames, Labels, StoredFrames
from quietspike.datasets.sources import Items, Parts, Source, fingerprint, items_of, labels_of, read_items
from quietspike.datasets.splits import Indices, Part, check_held, divide, limited
from quietspike.datasets.store import Rows, Store

REVISION = 2
"""Of how recordings become rows of the cache: raise it when that changes, or old caches would stay."""

SHARD_SAMPLES = 64

_OF_WINDOWS = ("window_us", "start", "clips")
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


@dataclass(frozen=True)
class Options:
    """How recordings become samples, and samples splits.

    Args:
        steps: T, the frames of a sample.
        by: ``time`` for windows of equal time, ``count`` for groups of equally many events.
        window_us: length of a window in µs; left out, the recording is divided into ``steps`` equal ones.
        downscale: coordinates are divided by it.
        binary: mark a pixel with 1 however many events it has in a step; else count them, up to 255.
        start: where T windows of a longer recording begin, for training: with its ``first`` event, or at a ``random``
            time, drawn anew in each epoch. In a shorter recording the last windows are empty.
        clips: samples to validate and test with become so many clips of T windows, evenly spaced.
        vote: a sample's clips are right by ``majority``, more than half of them, or by ``plurality``.
        augment: options of ``Augment``, for training.
        validation: share (below 1) or number of the training samples that are held out, where the set has no such part.
        test: share or number of all samples that are held out first, where the set is undivided.
        seed: decides which are held out, and which a limit keeps.
        max_train: train with at most so many samples; the classes keep their shares.
        max_validation: validate with at most so many.
        max_test: test with at most so many.

    Raises:
        OptionError: if a value is out of its range.
    """

    steps: int = 8
    by: Literal["time", "count"] = "time"
    window_us: int | None = None
    downscale: int = 1
    binary: bool = False
    start: Literal["first", "random"] = "first"
    clips: int = 1
    vote: Literal["majority", "plurality"] = "majority"
    augment: Mapping[str, Any] = field(default_factory=dict)
    validation: float | int = 0.2
    test: float | int = 0.2
    seed: int = 0
    max_train: int | None = None
    max_validation: int | None = None
    max_test: int | None = None

    def __post_init__(self) -> None:
        self.clipping.check(self.framing)
        Voting(self.clips, self.vote)
        Augment.of(self.augment)
        check_held(validation=self.validation, test=self.test)
        check_whole(0, seed=self.seed)
        most = {"max_train": self.max_train, "max_validation": self.max_validation, "max_test": self.max_test}
        check_whole(**{option: count for option, count in most.items() if count is not None})

    @classmethod
    def of(cls, name: str, defaults: Mapping[str, Any], chosen: Mapping[str, Any]) -> Options:
        """A set's own defaults, and what its user chose; without windows of a fixed length, none that ask for them.

        Raises:
            UnknownNameError: for an option that there is not.
            OptionError: if a value is out of its range.
        """
        known = [option.name for option in fields(cls)]
        for option in chosen:
            if option not in known:
                raise unknown_name(f"datasets: {name}: option", option, known)
        if chosen.get("by") == "count" or chosen.get("window_us", 0) is None:
            defaults = {option: value for option, value in defaults.items() if option not in _OF_WINDOWS}
        return cls(**{**defaults, **chosen})

    @property
    def framing(self) -> Framing:
        """How events become frames."""
        return Framing(self.steps, self.by, self.window_us, self.downscale, self.binary)

    @property
    def clipping(self) -> Clips:
        """Which windows a sample shows."""
        return Clips(self.start, self.clips)

    @property
    def is_drawn(self) -> bool:
        """Whether frames to train with differ between epochs."""
        return self.start == "random" or Augment.of(self.augment) != Augment()


def signature_with_options(call: Callable[..., Any], defaults: Mapping[str, Any] | None = None) -> Signature:
    """A signature whose ``**options`` are spelled out, each with its default, for whoever asks for it."""
    own = [
        parameter for parameter in signature(call).parameters.values() if parameter.kind is not Parameter.VAR_KEYWORD
    ]
    taken = {parameter.name for parameter in own}
    plain = asdict(Options(**(defaults or {})))
    spelled = [
        Parameter(option.name, Parameter.KEYWORD_ONLY, default=plain[option.name], annotation=option.type)
        for option in fields(Options)
        if option.name not in taken
    ]
    return Signature([*own, *spelled])


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
