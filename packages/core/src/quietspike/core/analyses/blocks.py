"""The blocks of a network, the steps of its depth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn

from quietspike.core.errors import OptionError, unknown_name
from quietspike.core.metering import is_neuron

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def find_blocks(network: nn.Module, names: Iterable[str] | None = None) -> dict[str, nn.Module]:
    """The modules that follow one another in a network, by path.

    Without names, these are its children that hold a neuron layer; of a container (``nn.Sequential``,
    ``nn.ModuleList``) its own children in turn, unless a neuron layer is one of them: then ``nn.Sequential`` itself is
    a block. Of ``Conv3`` they are its convolutional and fully connected layers.

    Raises:
        UnknownNameError: for a name that no module has.
        OptionError: if there is no block.
    """
    if names is None:
        blocks = dict(_children(network, ""))
    else:
        modules = dict(network.named_modules())
        unknown = next((name for name in names if name not in modules), None)
        if unknown is not None:
            raise unknown_name("block", unknown, modules)
        blocks = {name: modules[name] for name in names}
    if not blocks:
        raise OptionError(f"{type(network).__name__}: no child holds a neuron layer: name the blocks")
    return blocks


def _children(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        whole = isinstance(child, nn.Sequential) and any(is_neuron(inner) for inner in child)
        if isinstance(child, CONTAINERS) and not whole:
            yield from _children(child, f"{path}.")
        elif not is_neuron(child) and any(is_neuron(inner) for inner in child.modules()):
            yield path, child
