"""What parts of a network gave is kept, so that placements that begin alike share the work of their beginning."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from torch import Tensor, nn

from quietspike.core.choice import Choice
from quietspike.core.layers import Attend
from quietspike.core.metering import CostMeter
from quietspike.core.placement import Placement
from quietspike.core.tallies import Tally

Key = tuple[str, ...]
"""The parts that a tensor has come through, each with the attention in it."""


class _Seen(NamedTuple):
    """A tensor as it was when it came out of the parts of its key."""

    tensor: Tensor
    version: int
    key: Key

    @classmethod
    def of(cls, tensor: Tensor, key: Key) -> Self:
        """As it is now."""
        return cls(tensor, tensor._version, key)

    @property
    def written(self) -> bool:
        """Whether it was changed in place since, as by ``x += shortcut``."""
        return self.tensor._version != self.version


@dataclass
class _Kept:
    """What a part gave: its outputs by batch, and what the meter counted in it.

    It is used once it is ``whole``: what was broken off is never.
    """

    outputs: dict[int, _Seen] = field(default_factory=dict)
    counted: Mapping[str, Tally] = field(default_factory=dict)
    whole: bool = False

    @property
    def written(self) -> bool:
        """Whether the network changes what it gave."""
        return any(output.written for output in self.outputs.values())

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(output.tensor.nbytes for output in self.outputs.values())


class SharedParts:
    """The children of a network, each of which runs once for each beginning of a placement.

    A child that is called with the network's input itself, or with what a child before it returned, gives what it gave
    when all attention up to it was the same: that is kept, and the child is not run again. A child that is called with
    anything else, or that was written to since, is run each time, and so are those behind it. What comes out is exactly
    what running everything gives, for any network; one whose children follow one another, as ``Conv3``, shares most.

    Args:
        network: whose children are shared; its weights must not change any more.
        limit: bytes that may be kept; what was not asked for longest goes first.
    """

    def __init__(self, network: nn.Module, limit: int) -> None:
        self._network = network
        self._limit = limit
        self._held = 0
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._known: dict[int, _Seen] = {}
        self._open: dict[str, tuple[Key, _Kept]] = {}
        self._called: set[str] = set()
        self._repeating: set[str] = set()
        self._batch = 0
        self._meter: CostMeter | None = None

    @contextmanager
    def sharing(self, placement: Placement, meter: CostMeter) -> Iterator[None]:
        """The children share their work while one placement stands.

        Args:
            placement: which.
            meter: counts in the passes in which it is open.

        The network must be shown the same batches in the same modes, in the same order, whichever placement stands.
        """
        parts = dict(self._network.named_children())
        self._open, self._batch, self._meter = {}, 0, meter
        begin = self._network.register_forward_pre_hook(self._begin)
        for name, part in parts.items():
            part.forward = self._shared(name, part, placement)
        try:
            yield
            for name, (key, kept) in self._open.items():
                if not (kept.whole or kept.written):
                    kept.counted, kept.whole = meter.within(name), True
                    self._kept[key] = kept
                    self._held += kept.size
            while self._held > self._limit and self._kept:
                self._held -= self._kept.popitem(last=False)[1].size
        finally:
            begin.remove()
            self._repeating.update(name for name, (_, kept) in self._open.items() if kept.written)
            for part in parts.values():
                del part.forward
            self._known, self._open, self._meter = {}, {}, None

    def _begin(self, network: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._batch += 1
        self._called = set()
        self._known = {id(inputs[0]): _Seen.of(inputs[0], ())} if inputs else {}

    def _shared(self, name: str, part: nn.Module, placement: Placement) -> Callable[..., Any]:
        """What stands for a part's ``forward``."""
        run = part.forward
        sites = (module.site.name for module in part.modules() if isinstance(module, Attend))
        chosen = ",".join(placement.get(site, Choice("none")).label for site in sites)

        def forward(*inputs: Any, **named: Any) -> Any:
            if name in self._called:  # it is not known by its name alone
                self._repeating.add(name)
                self._open.pop(name, None)
            self._called.add(name)
            seen = self._known.get(id(inputs[0])) if len(inputs) == 1 and not named else None
            if seen is None or seen.written or name in self._repeating:
                return run(*inputs, **named)
            key = (*seen.key, f"{name}:{chosen}")
            if name not in self._open:
                self._open[name] = key, self._kept.get(key, _Kept())
            kept = self._open[name][1]
            if kept.whole:
                self._kept.move_to_end(key)
                if self._meter is not None:
                    self._meter.skip(kept.counted)
            else:
                kept.outputs[self._batch] = _Seen.of(run(seen.tensor), key)
            out = kept.outputs[self._batch]
            self._known[id(out.tensor)] = out
            return out.tensor

        return forward
