"""What parts of a network gave is kept, so that placements that begin alike share the work of their beginning."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from quietspike.core.choice import Choice
from quietspike.core.layers import Attend
from quietspike.core.metering import CostMeter
from quietspike.core.placement import Placement
from quietspike.core.tallies import Tally

Key = tuple[str, ...]
"""The parts that a tensor has come through, each with the attention in it."""


@dataclass
class _Kept:
    """What a part gave: its outputs by batch, and what the meter counted in it.

    It is used once it is ``whole``: what was broken off is never.
    """

    outputs: dict[int, Tensor] = field(default_factory=dict)
    counted: Mapping[str, Tally] = field(default_factory=dict)
    whole: bool = False

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(tensor.nbytes for tensor in self.outputs.values())


class SharedParts:
    """The children of a network, each of which runs once for each beginning of a placement.

    A child that is called with the network's input itself, or with what a child before it returned, gives what it gave
    when all attention up to it was the same: that is kept, and the child is not run again. A child that is called with
    anything else is run each time, and so are those behind it. What comes out is exactly what running everything gives,
    for any network; one whose children follow one another, as ``Conv3``, shares most.

    Args:
        network: whose children are shared; its weights must not change any more.
        limit: bytes that may be kept; what was not asked for longest goes first.
    """

    def __init__(self, network: nn.Module, limit: int) -> None:
        self._network = network
        self._limit = limit
        self._held = 0
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._known: dict[int, tuple[Tensor, Key]] = {}
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
                if not kept.whole:
                    kept.counted, kept.whole = meter.within(name), True
                    self._kept[key] = kept
                    self._held += kept.size
            while self._held > self._limit and self._kept:
                self._held -= self._kept.popitem(last=False)[1].size
        finally:
            begin.remove()
            for part in parts.values():
                del part.forward
            self._known, self._open, self._meter = {}, {}, None

    def _begin(self, network: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._batch += 1
        self._called = set()
        self._known = {id(inputs[0]): (inputs[0], ())} if inputs else {}

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
            x, before = self._known.get(id(inputs[0]), (None, ())) if len(inputs) == 1 and not named else (None, ())
            if x is None or name in self._repeating:
                return run(*inputs, **named)
            key = (*before, f"{name}:{chosen}")
            if name not in self._open:
                self._open[name] = key, self._kept.get(key, _Kept())
            kept = self._open[name][1]
            if kept.whole:
                self._kept.move_to_end(key)
                if self._meter is not None:
                    self._meter.skip(kept.counted)
            else:
                kept.outputs[self._batch] = run(x)
            out = kept.outputs[self._batch]
            self._known[id(out)] = out, key
            return out

        return forward
