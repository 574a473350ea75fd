"""Inference whose time falls with the spikes.

Training, ``evaluate`` and the searches do not use it by themselves: what is faster is decided by the clock, so a run
repeated would round differently, a potential at the threshold would spike or not, and its metrics would not be the same
bit for bit. Whoever wants it opens the block: ``with event_driven(network): evaluate(network, ...)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrize import is_parametrized
from torch.overrides import TorchFunctionMode

from quietspike.core.deferred import Deferred
from quietspike.core.event_layer import EventLayer
from quietspike.core.folding import Chain, Synapses
from quietspike.core.kernels.memory import keep_freed_memory
from quietspike.core.layers import SpikingConv
from quietspike.core.metering import outermost
from quietspike.core.ms_resnet import FiringConv

IN_A_ROW = (SpikingConv, FiringConv)
"""Modules that pass their convolution's output straight on until it is read, and leave its input as it is meanwhile."""


@contextmanager
def event_driven(network: nn.Module, *, measure: bool = True) -> Iterator[Mapping[str, EventLayer]]:
    """Within the block, a network's synapses may work for their active inputs alone.

    >>> from quietspike.core.conv3 import Conv3
    >>> network = Conv3(input_shape=(2, 8, 8), steps=4, classes=3, widths=(4, 4, 4), hidden=(8,)).eval()
    >>> with torch.no_grad(), event_driven(network, measure=False) as layers:
    ...     scores = network(torch.zeros(4, 1, 2, 8, 8))
    >>> [name for name, layer in layers.items() if layer.chosen]
    ['block1.conv', 'block2.conv', 'block3.conv', 'fc1.linear', 'fc2.linear']

    So it is on a CPU, in evaluation mode, without gradients, for ``nn.Linear`` and for ``nn.Conv2d`` without dilation
    and groups; all else runs as ever, attention too. In ``SpikingConv`` and in MS-ResNets normalisation and average
    pooling are taken into the convolution before them. Results differ by rounding, and so does a spike where a
    potential is that near the threshold. The network is not touched: its hooks are called as ever (``CostMeter`` counts
    the same), and in other threads it is as it was. Where a hook stands behind what is taken together, it is given a
    ``Deferred``, computed if it is read.

    Args:
        network: any; it pays for one that spikes little.
        measure: take for each layer what was faster on its first batch. Since the clock decides, two runs may round
            differently; with ``False`` all that can be is event-driven, and a run repeated gives the same bits.

    Returns:
        The layers of synapses by path; ``chosen`` says of each whether it is event-driven, once it is known.
    """
    keep_freed_memory()
    in_a_row = {id(module.conv) for module in network.modules() if type(module) in IN_A_ROW}
    layers = {
        name: EventLayer(module, in_a_row=id(module) in in_a_row, measure=measure)
        for name, module in outermost(network)
        if isinstance(module, nn.Conv2d | nn.Linear) and not is_parametrized(module)
    }
    with _Synapses({id(layer.module.weight): layer for layer in layers.values()}):
        yield layers


class _Synapses(TorchFunctionMode):
    """Stands between modules and torch, for layers that are known by their weights."""

    def __init__(self, layers: Mapping[int, EventLayer]) -> None:
        super().__init__()
        self.layers = layers

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """The result of what a module asked torch for."""
        if func in _WAYS and not kwargs and (layer := self.layers.get(id(args[1]))):
            way, arguments = _WAYS[func]
            found = way(layer, *args) if len(args) == arguments else None
            if found is not None:
                return found
        return func(*args, **(kwargs or {}))


def _convolve(
    layer: EventLayer,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int] | str,
    dilation: tuple[int, int],
    groups: int,
) -> Tensor | None:
    """The result of ``conv2d``, or what stands for it; nothing where it is to be dense."""
    if isinstance(padding, str) or dilation != (1, 1) or groups != 1:
        return None
    if x.dim() != 4 or x.shape[1] != weight.shape[1]:  # torch knows what that means
        return None
    chain = Chain(Synapses(weight, bias, stride, padding))
    height, width = chain.size(*x.shape[2:])
    if min(height, width) < 1 or not layer.takes(x, weight, len(x) * height * width):
        return None
    return Deferred.of(x, chain, layer.convolve) if layer.in_a_row else layer.convolve(x, chain)


def _connect(layer: EventLayer, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    """The result of ``linear``; nothing where it is to be dense."""
    if x.shape[-1] != weight.shape[1] or not layer.takes(x, weight, x.numel() // weight.shape[1]):
        return None
    return layer.connect(x, weight, bias)


_WAYS: dict[Callable[..., Any], tuple[Callable[..., Tensor | None], int]] = {
    torch.conv2d: (_convolve, 7),
    functional.linear: (_connect, 3),
}
"""Of torch's functions, and how many arguments ``nn.Conv2d`` and ``nn.Linear`` call them with."""
