"""A network from plain data: backbone, neuron, placement, seed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from quietspike.core.choice import check_options
from quietspike.core.contracts import AttentionFactory, EventDataset, Site
from quietspike.core.errors import OptionError, PluginError, QuietspikeError
from quietspike.core.layers import channels_last
from quietspike.core.placement import Placement, list_sites
from quietspike.core.registry import BACKBONES, NEURONS, Registry
from quietspike.core.seeds import derive_seed

T = TypeVar("T")


def build_plugin(registry: Registry[Callable[..., T]], chosen: Mapping[str, Any], **given: Any) -> T:
    """A plugin's product, from its ``name`` and options.

    Args:
        registry: where the name stands.
        chosen: ``name`` and keyword options.
        given: what the caller adds; not the user's to set.

    Raises:
        UnknownNameError: for a name that nothing has.
        PluginError: for an option that it does not take, or a value that it refuses; names the plugin.
    """
    name = chosen["name"]
    options = {key: value for key, value in chosen.items() if key != "name"}
    plugin = registry.get(name)
    label = f"{registry.kind}: {name}"
    check_options(label, plugin, options)
    for key in given.keys() & options.keys():
        raise PluginError(f"{label}: {key} is no option; it follows from the rest of the experiment")
    try:
        return plugin(**options, **given)
    except QuietspikeError as error:
        if type(error) is not OptionError:  # a plugin inside it, a name or data that there is not: all say so
            raise
        raise PluginError(f"{label}: {error}") from None
    except (ValueError, TypeError) as error:
        raise PluginError(f"{label}: {error}") from error


def build_network(
    backbone: Mapping[str, Any],
    neuron: Mapping[str, Any] | None,
    attention: AttentionFactory | None,
    dataset: EventDataset,
    seed: int,
) -> nn.Module:
    """A fresh network; equal arguments give bitwise equal weights.

    Its convolutions are channels last in memory, in which they are fastest.

    Args:
        backbone: ``name`` and options.
        neuron: ``name`` and options; the backbone's own where ``None``.
        attention: a placement; its sites are checked first.
        dataset: gives input shape, steps and classes.
        seed: of the initial weights; torch's own generator is left as it was.

    Raises:
        QuietspikeError: for a name, option or site that does not exist.
    """
    if isinstance(attention, Placement):
        attention.check(find_sites(backbone, neuron, dataset))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "weights"))
        network = _assemble(backbone, neuron, dataset)(attention=attention)
    return channels_last(network)


def find_sites(backbone: Mapping[str, Any], neuron: Mapping[str, Any] | None, dataset: EventDataset) -> list[Site]:
    """The sites that a backbone has on a data set's frames, in its own order; nothing is allocated.

    Raises:
        QuietspikeError: for a name or option that does not exist.
    """
    return list_sites(_assemble(backbone, neuron, dataset))


def _assemble(
    backbone: Mapping[str, Any], neuron: Mapping[str, Any] | None, dataset: EventDataset
) -> Callable[..., nn.Module]:
    """What is left to give is the attention."""
    return functools.partial(
        build_plugin,
        BACKBONES,
        backbone,
        input_shape=dataset.input_shape,
        steps=dataset.steps,
        classes=len(dataset.classes),
        neuron=None if neuron is None else functools.partial(build_plugin, NEURONS, neuron, membrane=None),
    )
