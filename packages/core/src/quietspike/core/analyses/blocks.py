"""The blocks of a network, the steps of its depth, and what each is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from quietspike.core.analyses.samples import check_finite
from quietspike.core.analyses.watching import neuron_layers
from quietspike.core.errors import OptionError, unknown_name

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def find_blocks(network: nn.Module, names: Iterable[str] | None = None) -> dict[str, nn.Module]:
    """The modules that follow one another in a network, by path.

    Without names, these are its children that hold a neuron layer; of a container (``nn.Sequential``,
    ``nn.ModuleList``) its own children in turn, unless a neuron layer is one of them: then ``nn.Sequential`` itself is
    a block. Of ``Conv3`` they are its convolutional and fully connected layers.

    Raises:
        UnknownNameError: for a name that no module has.
        OptionError: if there is no block, or the names are no list of them.
    """
    if names is None:
        blocks = dict(_children(network, "", tuple(path for path, _ in neuron_layers(network))))
        if not blocks:
            raise OptionError(f"{type(network).__name__}: no child holds a neuron layer: name the blocks")
        return blocks
    wanted = [] if isinstance(names, str) else list(names)
    if not wanted:
        raise OptionError(f"blocks={names!r}: must be a list of at least one block's path")
    modules = {name: module for name, module in network.named_modules() if name}
    unknown = next((name for name in wanted if name not in modules), None)
    if unknown is not None:
        raise unknown_name("block", unknown, modules)
    return {name: modules[name] for name in wanted}


@contextmanager
def block_inputs(blocks: dict[str, nn.Module], frames: Tensor) -> Iterator[dict[str, Tensor]]:
    """What each block is given in one pass of its network, by path, in the order in which they run.

    Args:
        blocks: those of ``find_blocks``.
        frames: what the network is shown, [T, B, ...].

    Raises:
        DataError: if a block is given what is not finite.
        OptionError: if a block does not run, runs twice, or is not a function of one tensor [T, B, ...] to another.
    """
    inputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            if name in inputs:
                raise OptionError(f"{name}: runs twice in one pass: name other blocks")
            tensors = [*given, *named.values(), output]
            if len(tensors) != 2 or not all(isinstance(x, Tensor) and x.shape[:2] == frames.shape[:2] for x in tensors):
                raise OptionError(f"{name}: is not a function of one tensor [T, B, ...] to another: name other blocks")
            check_finite(name, tensors[0])
            inputs[name] = tensors[0]

        return hook

    with ExitStack() as stack:
        for name, module in blocks.items():
            stack.callback(module.register_forward_hook(keep(name), with_kwargs=True).remove)
        yield inputs
    idle = next((name for name in blocks if name not in inputs), None)
    if idle is not None:
        raise OptionError(f"{idle}: does not run when the network does: name other blocks")


def _children(module: nn.Module, prefix: str, neurons: tuple[str, ...]) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        whole = isinstance(child, nn.Sequential) and any(
            f"{path}.{inner}" in neurons for inner, _ in child.named_children()
        )
        if isinstance(child, CONTAINERS) and not whole:
            yield from _children(child, f"{path}.", neurons)
        elif any(neuron.startswith(f"{path}.") for neuron in neurons):
            yield path, child
