"""Every seam of quietspike on one page: what a plugin is called with, and what it must give back.

Shapes are [T, B, C, H, W] everywhere (steps, batch, channels, height, width), float32; fully connected layers see
[T, B, F]. A class of any package or third party that fits a protocol here can be registered under its kind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from torch import Tensor, nn

Signal: TypeAlias = Literal["input", "current", "membrane", "sum"]
"""Where attention acts: before the convolution, on the neuron's input current, on its membrane potential, or in a
residual network on what the shortcut has been added to."""

SplitName: TypeAlias = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Site:
    """A place in a backbone that attention may take.

    Args:
        name: unique in the backbone, as in ``block1.current``.
        signal: ``input`` (before the convolution; MA-SNN's Conv-PRE), ``current`` (after convolution, normalisation
            and pooling, before the neuron; Conv-POST), ``membrane`` (inside the neuron's step; Activate-PRE) or, in a
            residual block, ``sum`` (after the shortcut add; Att-2, where the block's own ``current`` is Att-1).
        steps: T of the tensor that the module sees; 1 at ``membrane``, where it is called once a step.
        channels: C, or F at a fully connected layer.
        spatial: whether the tensor is [T, B, C, H, W]; [T, B, F] otherwise.
    """

    name: str
    signal: Signal
    steps: int
    channels: int
    spatial: bool


AttentionFactory: TypeAlias = Callable[[Site], nn.Module]
"""What a backbone is given: called once at each of its sites, returns the module to put there."""


class AttentionMacs(NamedTuple):
    """Multiply-accumulates of an attention module for one sample (MA-SNN, the two terms of E_att).

    Args:
        weights: to compute the attention weights (ΔMAC1).
        applying: to multiply the features by them (ΔMAC2).
    """

    weights: int
    applying: int


class Attention(Protocol):
    """An ``nn.Module`` that maps [T, B, C, H, W] (or [T, B, F]) to the same shape.

    Registered as a callable ``plugin(site, **options)`` with keyword options that have defaults. In evaluation mode a
    sample's output depends on that sample alone. ``macs(shape)``, for one sample of shape [T, C, H, W] or [T, F], is
    optional: without it the matrix products of a forward pass count as ``weights`` and one multiplication an element
    as ``applying``. Where it cannot stand at a site it raises a ``ValueError``. An option
    ``temporal_reduction`` says that it has a temporal part: where one attention is to stand everywhere, fully connected
    layers get it, or ``ta`` in place of one that cannot stand there, and nothing of an attention without.
    """

    def __call__(self, x: Tensor) -> Tensor:
        """Map a tensor to one of the same shape."""
        ...


@runtime_checkable
class Neuron(Protocol):
    """An ``nn.Module`` that turns currents into spikes and keeps nothing between calls.

    Registered as a callable ``plugin(*, membrane=None, **options)``. ``membrane`` is a module that is called at each
    step with the membrane potential U as [1, B, C, H, W]; both the spikes and the next state use its result. What it
    gives is 0 or 1, or graded as ``liaf`` gives it; as spikes count the values that are not 0.

    Spikes are counted where ``forward`` gives them, so a backbone calls that; a neuron may hold others inside, which
    are then not counted. Synapses (``nn.Conv2d``, ``nn.Linear``) stand in its ``membrane`` alone: with any others it is
    taken for a block. Two attributes are optional, and read where the potential is looked at: ``membrane``, under which
    the module is kept (``None`` where there is none), and ``threshold``, a number or a tensor of one.
    """

    def forward(self, current: Tensor) -> Tensor:
        """Spikes [T, B, ...] of a current [T, B, ...], from rest."""
        ...

    def step(self, current: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Spikes and next state of one step [B, ...]; ``None`` is rest."""
        ...


NeuronFactory: TypeAlias = Callable[..., nn.Module]
"""What a backbone is given: ``neuron(membrane=None)`` returns a fresh neuron layer."""


class Backbone(Protocol):
    """An ``nn.Module`` that maps frames [T, B, C, H, W] to class scores [B, classes].

    Registered as a callable
    ``plugin(*, input_shape, steps, classes, attention=None, neuron=None, **options)``; it asks ``attention`` for a
    module once at each of its sites and ``neuron`` for each neuron layer. Scores are mean spikes over time, or what a
    last layer of synapses makes of them.
    """

    def __call__(self, frames: Tensor) -> Tensor:
        """Class scores [B, classes]."""
        ...


class FrameSplit(Protocol):
    """A part of a data set, by index.

    Four things are optional. ``__getitems__(indices)``, torch's batched fetch, gives a list of samples, as torch's
    ``Subset`` does, or the tuple of frames [B, T, C, H, W] and classes [B], which saves the stacking.
    ``at_epoch(number, seed)`` is for splits that draw slices or augment: the split as a run of that seed sees it in
    that epoch, the same whenever it is asked for. ``voting``, a ``quietspike.core.voting.Voting``, says how many clips
    that follow one another are one sample, and when that is right. ``images``, true, says that frames are still images:
    the first layer's cost is then that of a dense input, however many pixels are 0.
    """

    def __len__(self) -> int:
        """How many samples."""
        ...

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Frames [T, C, H, W] (a tensor or an array) and the class index."""
        ...


class EventDataset(Protocol):
    """Event recordings of known classes as frames.

    Registered as a callable ``plugin(*, steps, seed, **options)`` with defaults for all of them; what it costs to read
    is paid in ``split``.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, by index."""
        ...

    @property
    def steps(self) -> int:
        """T, the frames of a sample."""
        ...

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """C, H, W of a frame."""
        ...

    def split(self, name: SplitName) -> FrameSplit:
        """The samples of ``train``, ``validation`` or ``test``; the three never share one."""
        ...


class Engine(Protocol):
    """What runs the trainings of a search: processes on this machine, or a cluster.

    Registered as a callable without arguments. ``job`` is a ``quietspike.search.job.Job``, ``tasks`` are
    ``quietspike.search.confirmation.Task``; ``watch()`` is to be called a few times a second, to show progress.
    """

    def search(self, job: Any, watch: Callable[[], None]) -> None:
        """Run trials until the job's study holds as many as asked for."""
        ...

    def confirm(self, job: Any, tasks: Any, watch: Callable[[], None]) -> None:
        """Run each task that has no outcome yet."""
        ...


@runtime_checkable
class Checking(Protocol):
    """An engine that may refuse a search before anything is begun."""

    def check(self, experiment: Any, space: Any) -> None:
        """Raise a ``QuietspikeError`` for an experiment (or its ``Space``) that cannot be run here."""
        ...
