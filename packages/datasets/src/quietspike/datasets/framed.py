"""Recordings as a data set: three splits of frames, by options that all sets of recordings have in common."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from inspect import Parameter, Signature, signature
from typing import Any, Literal, TypeAlias

import numpy as np

from quietspike.core.checks import check_whole
from quietspike.core.contracts import SplitName
from quietspike.core.errors import DataError, OptionError, unknown_name
from quietspike.core.voting import Voting
from quietspike.datasets.augment import Augment
from quietspike.datasets.clips import Clips, spread_clips
from quietspike.datasets.events import EVENT, Events, inside, sort_by_time
from quietspike.datasets.frames import Frames, Framing, SensorSize, to_frames
from quietspike.datasets.loading import DrawnFrames, StoredFrames
from quietspike.datasets.sources import Items, Source, fingerprint, items_of, labels_of, read_items
from quietspike.datasets.splits import hold_out, limited
from quietspike.datasets.store import Rows, Store

REVISION = 1
"""Of how recordings become rows of the cache: raise it when that changes, or old caches would stay."""

SHARD_SAMPLES = 64

_OF_WINDOWS = ("window_us", "start", "clips")

Part: TypeAlias = Literal["train", "validation", "test", "all"]
Parts: TypeAlias = Mapping[Part, Sequence[Source]]
"""How a set is published: with a part to test with, perhaps one to validate with, or undivided (``all``)."""


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
        for name, held in (("validation", self.validation), ("test", self.test)):
            if isinstance(held, float) and not 0 < held < 1:
                raise OptionError(f"{name}={held}: must be a share above 0 and below 1, or a number of samples")
            if not isinstance(held, float):
                check_whole(**{name: held})
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

    Raises:
        OptionError: if an option does not go with the set.
    """

    def __init__(
        self,
        name: str,
        parts: Parts,
        sensor_size: SensorSize,
        classes: tuple[str, ...],
        options: Options,
        span: tuple[int, int] | None = None,
    ) -> None:
        self.classes, self.sensor_size, self.options = classes, sensor_size, options
        self.steps = options.steps
        self.input_shape = options.framing.input_shape(sensor_size)
        self._name, self._span = name, span
        self._parts: dict[Part, Items] = {part: items_of(sources) for part, sources in parts.items()}

    def split(self, name: SplitName) -> StoredFrames | DrawnFrames:
        """The samples of ``train``, ``validation`` or ``test``; read and cached at first use.

        Raises:
            UnknownNameError: if it is none of the three.
            DataError: if a recording is damaged, or the cache cannot be written.
        """
        options = self.options
        items, labels, chosen = self._choose(name)
        if name == "train" and options.is_drawn:
            store, augment = self._store_events(items), Augment.of(options.augment)
            is_random = options.start == "random"
            return DrawnFrames(store, labels, chosen, self.sensor_size, options.framing, is_random, augment, self._span)
        voting = Voting(1 if name == "train" else options.clips, options.vote)
        return StoredFrames(self._store_frames(items, voting.clips), labels, chosen, voting)

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

    def events(self, name: SplitName, index: int) -> Events:
        """The events behind a split's sample, as they are read; all of its clips'."""
        items, _, indices = self._choose(name)
        return next(read_items([items[indices[index]]]))

    def sizes(self) -> dict[str, int]:
        """How many recordings each part has."""
        return {part: len(items) for part, items in self._parts.items()}

    def _choose(self, name: SplitName) -> tuple[Items, np.ndarray, np.ndarray]:
        """What is stored together, and of a split's samples the classes and their places in that."""
        if name not in ("train", "validation", "test"):
            raise unknown_name(f"{self._name}: split", name, ("train", "validation", "test"))
        options = self.options
        part, chosen = self._divide(name)
        items = self._parts[part]
        labels = np.array(labels_of(items), dtype=np.int64)[chosen]
        most = {"train": options.max_train, "validation": options.max_validation, "test": options.max_test}[name]
        if most is not None and most < len(chosen):
            kept = limited(labels, most, options.seed)
            items, labels = [items[index] for index in chosen[kept]], labels[kept]
            chosen = np.arange(len(kept))
        return items, labels, chosen

    def _divide(self, name: SplitName) -> tuple[Part, np.ndarray]:
        """Which part a split is of, and which of its recordings."""
        if name in self._parts and (name != "train" or "validation" in self._parts):
            return name, np.arange(len(self._parts[name]))
        part: Part = "all" if "all" in self._parts else "train"
        labels = np.array(labels_of(self._parts[part]), dtype=np.int64)
        rest = np.arange(len(labels))
        if part == "all":
            rest, test = hold_out(labels, self.options.test, self.options.seed)
            if name == "test":
                return part, test
        stay, held = hold_out(labels[rest], self.options.validation, self.options.seed)
        return part, rest[held if name == "validation" else stay]

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
        span = self._span if framing.by == "time" else None
        if framing.window_us is None or clips == 1:
            return to_frames(events, self.sensor_size, framing, span)[None]
        width, height, _ = self.sensor_size
        events = inside(events, width, height)
        t = events["t"]
        recorded = span or ((int(t.min()), int(t.max()) + 1) if len(t) else (0, 1))
        spans = spread_clips(recorded, framing.steps * framing.window_us, clips)
        return np.stack([to_frames(events, self.sensor_size, framing, clip) for clip in spans])

    def _store_events(self, items: Items) -> Store:
        key = self._key(items, {"events": "on the sensor, in order of time"})
        return Store(key, _shards(items), EVENT, (), partial(self._build_events, items))

    def _build_events(self, items: Items, samples: Sequence[int]) -> Generator[Rows, None, None]:
        width, height, _ = self.sensor_size
        for events in read_items([items[sample] for sample in samples]):
            yield sort_by_time(inside(events, width, height))

    def _key(self, items: Items, rows: Mapping[str, Any]) -> dict[str, Any]:
        recordings = fingerprint(items)
        return {
            "name": self._name,
            "revision": REVISION,
            "recordings": recordings,
            "samples": len(items),
            "sensor_size": self.sensor_size,
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
