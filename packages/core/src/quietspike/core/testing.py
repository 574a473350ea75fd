"""Conformance checks for plugin authors: each raises ``AssertionError`` saying which part of the contract is broken.

Two lines in a plugin's own tests::

    def test_it_keeps_the_contract():
        check_attention(MyAttention, channel_reduction=4)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any, cast, get_args

import torch
from torch import Tensor, nn

from quietspike.core.batches import Batches
from quietspike.core.contracts import EventDataset, Neuron, NeuronFactory, Site, SplitName
from quietspike.core.layers import Attend, over_steps
from quietspike.core.metering import CostMeter
from quietspike.core.neurons import LIF
from quietspike.core.placement import list_sites
from quietspike.core.tallies import attention_macs, count_products


class _Halve(nn.Module):
    """Attention that leaves a trace wherever it is applied."""

    def forward(self, x: Tensor) -> Tensor:
        return x / 2


class _Convolve(nn.Module):
    """Attention with synapses, that leaves U as it is."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1, bias=False)
        nn.init.dirac_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        return over_steps(x, self.conv)


@torch.random.fork_rng(devices=[])
def check_neuron(plugin: NeuronFactory) -> None:
    """Spikes of the current's shape, no state between calls, steps equal to a whole, gradients, membrane, batch, count.

    It is built on the meta device too, as it is wherever sites are listed.
    """
    neuron = plugin()
    _expect(isinstance(neuron, nn.Module) and isinstance(neuron, Neuron), "a neuron is an nn.Module with step()")
    gain = torch.linspace(0, 1.5, 8 * 9 * 9).reshape(8, 9, 9)  # neurons that never fire, often, and just not yet
    current = (_random(6, 3, 8, 9, 9) * gain).requires_grad_()
    spikes = neuron(current)
    _expect(spikes.shape == current.shape, f"spikes have shape {tuple(spikes.shape)}, not the current's")
    _expect(bool((spikes.sum() > 0) & torch.isfinite(spikes).all()), "a strong current gives no finite spikes")
    _expect(torch.equal(spikes, neuron(current)), "a second call differs: something is kept between calls")
    stepper = cast(Neuron, neuron)
    state, stepped = None, []
    for now in current:
        spike, state = stepper.step(now, state)
        stepped.append(spike)
    _expect(torch.allclose(torch.stack(stepped), spikes), "step() by step differs from forward()")
    _expect(spikes.requires_grad, "no gradient reaches the current")
    spikes.sum().backward()
    _expect(current.grad is not None and bool(current.grad.abs().sum() > 0), "no gradient reaches the current")
    _check_membrane(plugin, current.detach())
    _check_batch(neuron, current.detach())
    _check_count(plugin, current.detach())
    try:
        with torch.device("meta"):
            plugin()
    except Exception as error:
        raise AssertionError(f"it cannot be built on the meta device: {error}") from error


@torch.random.fork_rng(devices=[])
def check_attention(plugin: Callable[..., nn.Module], **options: Any) -> None:
    """Same shape, at ordinary and smallest sizes; gradients; each sample for itself; all matrix products counted."""
    torch.manual_seed(0)
    for steps, batch, channels, size in ((4, 3, 6, 5), (1, 1, 1, 1), (1, 2, 3, 4), (3, 1, 2, 2)):
        site = Site("block1.current", "current", steps, channels, spatial=True)
        module = plugin(site, **options).eval()
        x = _random(steps, batch, channels, size, size).requires_grad_()
        out = module(x)
        _expect(out.shape == x.shape, f"{tuple(x.shape)} became {tuple(out.shape)}")
        _expect(bool(torch.isfinite(out).all()), f"not finite at {tuple(x.shape)}")
        _expect(out.requires_grad, "no gradient reaches the input")
        out.sum().backward()
        _expect(x.grad is not None and bool(torch.isfinite(x.grad).all()), "the input's gradient is not finite")
        _check_batch(module, x.detach())
        shape = (steps, channels, size, size)
        macs, products = attention_macs(module, shape), count_products(module, x.detach()[:, :1])
        _expect(macs.weights >= products and macs.applying >= 0, f"macs() gives {macs}, products alone are {products}")
        _check_training(module, x.detach())


@torch.random.fork_rng(devices=[])
def check_backbone(plugin: Callable[..., nn.Module], **options: Any) -> None:
    """Scores for each class, a module asked for and used at each site, inside ``Attend``, and countable spikes."""
    torch.manual_seed(0)
    shape, steps, classes = options.pop("input_shape", (2, 32, 32)), 3, 4
    asked: list[Site] = []

    def attention(site: Site) -> nn.Module:
        asked.append(site)
        return _Halve()

    build = {"input_shape": shape, "steps": steps, "classes": classes, **options}
    network = plugin(attention=attention, **build).eval()
    frames = _random(steps, 2, *shape)
    with CostMeter(network) as meter:
        scores = network(frames)
    cost = meter.cost()
    _expect(scores.shape == (2, classes), f"scores have shape {tuple(scores.shape)}, not (2, {classes})")
    _expect(bool(cost.neuron_layers), "no neuron of the contract was found: spikes cannot be counted")
    for layer in cost.neuron_layers:
        _expect(layer.neurons > 0, f"forward() of {layer.layer} is not called: its spikes are not counted")
    products = count_products(network, frames) // frames.shape[1]
    counted = round(sum(layer.macs for layer in cost.layers if layer.kind == "synapse"))
    _expect(counted == products, f"{counted} multiply-accumulates are counted of {products}: synapses come for free")
    names = [site.name for site in asked]
    _expect(bool(names) and len(set(names)) == len(names), f"site names are not unique: {names}")
    for site in asked:
        _expect(site.name.endswith(f".{site.signal}"), f"{site.name} does not end with its signal, {site.signal}")
    placed = [module.site for module in network.modules() if isinstance(module, Attend)]
    _expect(set(placed) == set(asked), "attention stands outside of Attend: its cost would count as synapses")
    _expect(list_sites(plugin, **build) == asked, "list_sites() finds other sites than a real build")
    _check_sites(network, asked, frames)
    smooth = partial(LIF, surrogate="sigmoid", surrogate_scale=1.0)  # gradients come through where nothing fires, too
    _check_use(plugin(**{**build, "attention": lambda site: _Halve(), "neuron": smooth}).eval(), frames)
    _check_batch(plugin(**build).eval(), frames, batch_of_output=0)


def check_dataset(dataset: EventDataset, samples: int = 500) -> None:
    """Three splits of frames [T, C, H, W] with known classes, the same whenever asked for; none shares a sample.

    Args:
        dataset: what to check.
        samples: how many of a split are looked at, evenly spaced.
    """
    shape = (dataset.steps, *dataset.input_shape)
    home: dict[bytes, str] = {}
    for name in get_args(SplitName):
        split = dataset.split(name)
        _expect(len(split) > 0, f"{name} is empty")
        for index in range(0, len(split), max(1, len(split) // samples)):
            frames, label = split[index]
            frames = torch.as_tensor(frames)
            found = tuple(frames.shape)
            _expect(found == shape, f"{name}: frames of sample {index} have shape {found}, not {shape}")
            _expect(bool(torch.isfinite(frames).all()), f"{name}: frames of sample {index} are not finite")
            _expect(0 <= label < len(dataset.classes), f"{name}: class {label} of {len(dataset.classes)}")
            if frames.any():
                digest = hashlib.sha256(frames.contiguous().numpy().tobytes()).digest()
                other = home.setdefault(digest, name)
                _expect(other == name, f"{name}: sample {index} is in {other} too")
        frames, label = split[0]
        again, _ = split[0]
        frames, again = torch.as_tensor(frames), torch.as_tensor(again)
        _expect(torch.equal(frames, again), f"{name}: sample 0 differs when it is read again")
        batch, labels = next(Batches(split, 2).epoch())
        _expect(torch.equal(batch[:, 0], frames.to(torch.float32)), f"{name}: __getitems__ differs from __getitem__")
        _expect(int(labels[0]) == label, f"{name}: __getitems__ gives another class than __getitem__")


def _check_training(module: nn.Module, x: Tensor) -> None:
    """A pass in training mode leaves what it was given, and gives finite gradients."""
    module.train()
    given = x.clone().requires_grad_()
    out = module(given)
    _expect(torch.equal(given.detach(), x), "the input is changed in place")
    out.sum().backward()
    gradients = [given.grad, *(parameter.grad for parameter in module.parameters())]
    finite = all(bool(torch.isfinite(gradient).all()) for gradient in gradients if gradient is not None)
    _expect(finite, "a gradient of the training pass is not finite")


def _check_membrane(plugin: NeuronFactory, current: Tensor) -> None:
    seen: list[tuple[int, ...]] = []

    class Mute(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(tuple(x.shape))
            return x * 0

    silent = plugin(membrane=Mute())(current)
    _expect(seen == [(1, *current.shape[1:])] * len(current), "membrane is not called once a step with [1, B, ...]")
    _expect(not bool(silent.any()), "spikes do not follow the membrane's result")


def _check_count(plugin: NeuronFactory, current: Tensor) -> None:
    site = Site("block1.membrane", "membrane", 1, current.shape[2], spatial=True)
    for options in ({}, {"membrane": Attend(site, _Convolve)}):
        network = nn.Sequential(plugin(**options))
        with torch.no_grad(), CostMeter(network) as meter:
            fired = int(network(current).count_nonzero())
        counted = round(meter.cost().spikes * current.shape[1])
        where = "with a convolution at its membrane" if options else "bare"
        _expect(counted == fired, f"{where}, it sends {fired} spikes, of which {counted} are counted")


def _check_sites(network: nn.Module, sites: list[Site], frames: Tensor) -> None:
    seen: dict[str, tuple[int, ...]] = {}
    for module in network.modules():
        if isinstance(module, Attend):
            name = module.site.name
            module.register_forward_hook(lambda _, inputs, __, name=name: seen.update({name: tuple(inputs[0].shape)}))
    network(frames)
    for site in sites:
        _expect(site.name in seen, f"{site.name} was asked for and never used")
        shape = seen[site.name]
        _expect(shape[0] == site.steps, f"{site.name} says {site.steps} steps and sees {shape}")
        _expect(shape[2] == site.channels, f"{site.name} says {site.channels} channels and sees {shape}")
        _expect((len(shape) == 5) == site.spatial, f"{site.name} says spatial={site.spatial} and sees {shape}")


def _check_use(network: nn.Module, frames: Tensor) -> None:
    """What attention gives goes on to the scores, wherever it stands."""
    given: dict[str, list[Tensor]] = {}

    def keep(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if output.requires_grad:
            output.retain_grad()
        given.setdefault(cast(Attend, module).site.name, []).append(output)

    for module in network.modules():
        if isinstance(module, Attend):
            module.register_forward_hook(keep)
    network(frames.clone().requires_grad_()).sum().backward()
    for name, outputs in given.items():
        used = all(output.requires_grad and output.grad is not None and output.grad.any() for output in outputs)
        _expect(used, f"what attention gives at {name} is not used")


def _check_batch(module: nn.Module, x: Tensor, batch_of_output: int = 1) -> None:
    """A sample's output is the same alone and among others."""
    with torch.no_grad():
        together = module(x)
        for index in range(x.shape[1]):
            alone = module(x[:, index : index + 1])
            among = together.narrow(batch_of_output, index, 1)
            _expect(torch.allclose(alone, among, atol=1e-6), "a sample's output depends on its batch neighbours")


def _random(*shape: int) -> Tensor:
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(0))


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
