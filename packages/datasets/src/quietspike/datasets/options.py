"""What a user may choose of recordings: how they become samples, and samples splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from inspect import Parameter, Signature, signature
from typing import Any, Literal

from quietspike.core.checks import check_whole
from quietspike.core.errors import unknown_name
from quietspike.core.voting import Voting
from quietspike.datasets.augment import Augment
from quietspike.datasets.clips import Clips
from quietspike.datasets.frames import Framing
from quietspike.datasets.splits import check_held

_OF_WINDOWS = ("window_us", "start", "clips")


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
