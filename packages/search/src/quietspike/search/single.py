"""One placement outside of a search: train it, or measure weights that are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from quietspike.core import Choice, OptionError, Placement, QuietspikeError, Site
from quietspike.core.batches import Batches
from quietspike.core.contracts import SplitName
from quietspike.core.cost import E_MAC, Cost
from quietspike.core.errors import unknown_name
from quietspike.core.evaluation import Evaluation, evaluate
from quietspike.core.event_driven import event_driven
from quietspike.core.networks import find_sites
from quietspike.core.training import EpochRow, resolve_device
from quietspike.search.config import Experiment
from quietspike.search.data import open_dataset
from quietspike.search.design import Design
from quietspike.search.execution import Training, design_params, run_training
from quietspike.search.opening import OpenedWeights, open_weights
from quietspike.search.processes import prepare_worker
from quietspike.search.progress import amount, outcome_text
from quietspike.search.provenance import provenance
from quietspike.search.reading import read_yaml
from quietspike.search.results import Outcome
from quietspike.search.settings import check_key
from quietspike.search.space import open_space, uniform_placement
from quietspike.search.tracking import track_training


def read_design(text: str, experiment: Experiment) -> Design:
    """A design from a YAML file; else one that has the same attention at every site that the search covers.

    Args:
        text: the file, or what stands everywhere: a candidate as it is printed (``ca(channel_reduction=4)``), or the
            name of an attention.
        experiment: its backbone has the sites.

    Raises:
        QuietspikeError: for a file that cannot be read, a site or attention that does not exist, or a bad option.
    """
    space = open_space(experiment)
    if text in space.uniform:
        return Design(space.uniform[text])
    if text.endswith(")"):
        raise unknown_name("candidate", text, space.uniform)
    if not text.endswith((".yaml", ".yml")):
        placement = uniform_placement(Choice(text), [site for site in space.sites if site.name in space.choices])
        _build(placement, space.sites)
        return Design(placement)
    data = read_yaml(Path(text))
    try:
        design = Design.of(data)
        for key in design.settings:
            check_key(key)
        changed = design.apply(experiment)
        sites = find_sites(*changed.network, open_dataset(changed))
        design.placement.check(sites)
        _build(design.placement, sites)
    except QuietspikeError as error:
        raise type(error)(f"{text}: {error}") from None
    return design


def _build(placement: Placement, sites: Sequence[Site]) -> None:
    """Each module once, without memory: a bad choice is refused before anything is trained."""
    with torch.device("meta"):
        for site in sites:
            placement(site)


def plan_training(experiment: Experiment, design: Design, seed: int) -> Training:
    """One outside of the search: ``train/<digest>-seed<seed>`` in the experiment's folder keeps its weights."""
    folder = experiment.folder / "train" / f"{design.digest}-seed{seed}"
    return Training(experiment, design, seed, folder)


def train_design(experiment: Experiment, design: Design, console: Console, seed: int | None = None) -> Outcome:
    """Train one design, by default with the experiment's seed, and measure it on the test split.

    It goes on from a checkpoint. With the search's ``threads`` it gives what a trial of the search gave, bit for bit.

    Raises:
        QuietspikeError: for a mistake in the experiment, or an output folder that cannot be written.
        DivergedError: when the loss is not finite.
    """
    training = plan_training(experiment, design, experiment.seed if seed is None else seed)
    placement = training.placement
    sites = find_sites(*training.experiment.network, open_dataset(training.experiment))
    resolve_device(experiment.device)
    try:
        training.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"output: {training.folder}: cannot be written: {error.strerror}") from None
    labels = {site.name: placement[site.name].label if site.name in placement else "none" for site in sites}

    def show(row: EpochRow) -> None:
        console.print(epoch_text(row), highlight=False)

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False)

    threads = torch.get_num_threads()
    prepare_worker(experiment.search.threads)
    try:
        params = design_params(labels, design.settings)
        with track_training(experiment, design.label, params, provenance(), say) as run:
            outcome = run_training(training, run, test=True, watch=show)
    finally:
        torch.set_num_threads(threads)
    for line in (f"Test: {outcome_text(outcome, experiment.search.objective)}", f"Weights: {training.weights}"):
        say(line)
    return outcome


def epoch_text(row: EpochRow) -> str:
    """One line for an epoch."""
    return (
        f"epoch {row.epoch}: train loss {row.train_loss:.4f}, validation loss {row.loss:.4f}, "
        f"accuracy {row.accuracy:.4f}, {amount(row.cost.spikes, 'spikes')}, {row.seconds:.1f} s"
    )


def evaluate_weights(
    path: Path,
    overrides: Sequence[str],
    split: SplitName,
    console: Console,
    base: Path | None = None,
    *,
    events: bool = False,
) -> Evaluation:
    """Measure a weights file on a split of its experiment's data and print the cost, layer by layer.

    Args:
        path: what a training or a search left.
        overrides: keys of the experiment, as in ``--dataset.root``; the data may lie elsewhere now.
        split: which samples.
        console: where to print.
        base: weights of the same network without attention, which rEE is against.
        events: measure once more, event-driven, and print how far that agrees; it changes nothing in what is returned,
            which is the same at every call.

    Raises:
        QuietspikeError: if a file is damaged, no weights of quietspike, or does not fit its own record.
    """
    weights = open_weights(path, overrides)
    without = None if base is None else _measure(open_weights(base, overrides), split).cost
    shown = _measure(weights, split)
    summary = f"{weights.placement.label}: accuracy {shown.accuracy:.4f}, loss {shown.loss:.4f} ({split})"
    console.print(summary, highlight=False, markup=False)
    console.print(cost_table(shown.cost), markup=False)
    console.print(rate_table(shown.cost, without), markup=False)
    if events:
        with event_driven(weights.network) as layers:
            gathered = _measure(weights, split)
        chosen = sum(layer.chosen is True for layer in layers.values())
        summary = f"event-driven in {chosen} of {len(layers)} layers: {agreement(gathered, shown)}"
        console.print(summary, highlight=False, markup=False)
    return shown


def _measure(weights: OpenedWeights, split: SplitName) -> Evaluation:
    recipe = weights.experiment.train
    batches = Batches(weights.dataset.split(split), recipe.batch_size)
    return evaluate(weights.network, batches.epoch(), recipe, weights.device, batches.voting, images=batches.images)


def agreement(one: Evaluation, other: Evaluation) -> str:
    """How far two measurements of the same weights agree."""
    few, many = sorted((one.cost.spikes, other.cost.spikes))
    apart = (many - few) / many if many else 0.0
    return f"accuracy {one.accuracy:.4f}, dense {other.accuracy:.4f}; spikes differ by {apart:.1e} of them"


def rate_table(cost: Cost, base: Cost | None = None) -> Table:
    """The papers' figures: firing rates, what attention adds to the energy, and what it saves against a base."""
    table = Table(title="In the papers' terms", show_header=False)
    table.add_row("NASAR, all neurons", f"{cost.firing_rate:.4f}")
    table.add_row("NASAR, without fully connected layers", f"{cost.spatial_firing_rate:.4f}")
    table.add_row("NSAR(t)", " ".join(f"{rate:.4f}" for rate in cost.rate_by_step))
    added = cost.added_macs
    for name, macs in zip(("ΔMAC1, computing the weights", "ΔMAC2, applying them"), added, strict=True):
        table.add_row(name, f"{macs:,.0f} ({macs * E_MAC:.4f} µJ)")
    table.add_row("energy (paper) of synapses", f"{cost.energy_paper - sum(added) * E_MAC:.4f} µJ")
    table.add_row("E_Att" if sum(added) else "E_Base", f"{cost.energy_paper:.4f} µJ")
    if base is not None:
        table.add_row("E_Base of --base", f"{base.energy_paper:.4f} µJ")
        table.add_row("rEE = E_Base / E_Att", f"{cost.efficiency(base):.3f}")
    return table


def cost_table(cost: Cost) -> Table:
    """A row a layer and one for the totals, all for one sample."""
    table = Table(title="Cost of a sample")
    table.add_column("layer")
    for column in (
        "spikes",
        "LASAR",
        "synaptic operations",
        "MACs",
        "energy µJ",
        "energy (paper) µJ",
        "parameters",
    ):
        table.add_column(column, justify="right")
    for row in cost.layers:
        spiking, synapse = row.kind == "neuron", row.kind == "synapse"
        table.add_row(
            row.layer,
            f"{row.spikes:,.1f}" if spiking else "",
            f"{row.firing_rate:.4f}" if spiking else "",
            f"{row.synaptic_operations:,.0f}" if synapse else "",
            f"{row.macs:,.0f}" if row.macs else "",
            f"{row.energy:.4f}" if row.energy else "",
            f"{row.energy_paper:.4f}" if row.energy_paper else "",
            f"{row.parameters:,}" if row.parameters else "",
        )
    table.add_section()
    table.add_row(
        "total",
        f"{cost.spikes:,.1f}",
        f"{cost.firing_rate:.4f}",
        f"{cost.synaptic_operations:,.0f}",
        f"{cost.macs:,.0f}",
        f"{cost.energy:.4f}",
        f"{cost.energy_paper:.4f}",
        f"{cost.parameters:,}",
    )
    return table
