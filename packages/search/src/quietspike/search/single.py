"""One placement outside of a search: train it, or measure weights that are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from quietspike.core import CheckpointError, Choice, OptionError, Placement
from quietspike.core.batches import Batches
from quietspike.core.contracts import SplitName
from quietspike.core.cost import Cost
from quietspike.core.evaluation import Evaluation, evaluate
from quietspike.core.networks import build_network, find_sites
from quietspike.core.training import EpochRow, resolve_device
from quietspike.core.weights import load_tensors, load_weights
from quietspike.search.config import Experiment, check_experiment
from quietspike.search.data import open_dataset
from quietspike.search.execution import Training, run_training, site_params
from quietspike.search.progress import amount, outcome_text
from quietspike.search.provenance import provenance
from quietspike.search.reading import override, read_yaml
from quietspike.search.results import Outcome
from quietspike.search.tracking import open_tracker

RECORD = {"experiment": dict, "placement": dict, "seed": int}
"""What a weights file says of its network."""


def read_placement(text: str, experiment: Experiment) -> Placement:
    """A placement from a YAML file, or an attention's name for the same everywhere.

    Raises:
        QuietspikeError: for a file that cannot be read, a site or attention that does not exist, or a bad option.
    """
    sites = find_sites(experiment.backbone.data, experiment.neuron.data, open_dataset(experiment))
    if text.endswith((".yaml", ".yml")):
        placement = Placement(read_yaml(Path(text)))
        placement.check(sites)
    else:
        placement = Placement.uniform(Choice(text), sites)
    with torch.device("meta"):
        for site in sites:
            placement(site)
    return placement


def train_placement(experiment: Experiment, placement: Placement, console: Console) -> Outcome:
    """Train one placement with the experiment's seed and measure it on the test split.

    Its folder, ``train/<digest>-seed<seed>`` in the experiment's, keeps the weights; it goes on from a checkpoint.

    Raises:
        QuietspikeError: for a mistake in the experiment, or an output folder that cannot be written.
        DivergedError: when the loss is not finite.
    """
    dataset = open_dataset(experiment)
    sites = find_sites(experiment.backbone.data, experiment.neuron.data, dataset)
    folder = experiment.folder / "train" / f"{placement.digest}-seed{experiment.seed}"
    training = Training(experiment, placement, experiment.seed, folder)
    resolve_device(experiment.device)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"output: {folder}: cannot be written: {error.strerror}") from None
    tracker = open_tracker(experiment, provenance())
    labels = {site.name: placement[site.name].label if site.name in placement else "none" for site in sites}
    params = {**site_params(labels), "seed": str(experiment.seed)}

    def show(row: EpochRow) -> None:
        console.print(epoch_text(row), highlight=False)

    status = "FAILED"
    try:
        with tracker.child("training", placement.label, params) as run:
            outcome = run_training(training, run, test=True, watch=show)
        status = "FINISHED"
    finally:
        tracker.parent.end(status)
    console.print(f"Test: {outcome_text(outcome, experiment.search.objective)}", highlight=False)
    console.print(f"Weights: {training.weights}", highlight=False)
    return outcome


def epoch_text(row: EpochRow) -> str:
    """One line for an epoch."""
    return (
        f"epoch {row.epoch}: train loss {row.train_loss:.4f}, validation loss {row.loss:.4f}, "
        f"accuracy {row.accuracy:.4f}, {amount(row.cost.spikes, 'spikes')}, {row.seconds:.1f} s"
    )


def evaluate_weights(path: Path, overrides: Sequence[str], split: SplitName, console: Console) -> Evaluation:
    """Measure a weights file on a split of its experiment's data and print the cost, layer by layer.

    Args:
        path: what a training or a search left.
        overrides: keys of the experiment, as in ``--dataset.root``; the data may lie elsewhere now.
        split: which samples.
        console: where to print.

    Raises:
        QuietspikeError: if the file is damaged, no weights of quietspike, or does not fit its own record.
    """
    tensors, record = load_tensors(path)
    if not all(isinstance(record.get(key), kind) for key, kind in RECORD.items()):
        raise CheckpointError(f"{path}: does not say which network it belongs to; not written by quietspike")
    experiment = check_experiment(override(record["experiment"], overrides))
    dataset, placement = open_dataset(experiment), Placement(record["placement"])
    backbone, neuron = experiment.backbone.data, experiment.neuron.data
    network = build_network(backbone, neuron, placement, dataset, record["seed"])
    load_weights(network, tensors, str(path))
    device = resolve_device(experiment.device)
    batches = Batches(dataset.split(split), experiment.train.batch_size)
    shown = evaluate(network.to(device), batches.epoch(), experiment.train, device)
    console.print(f"{placement.label}: accuracy {shown.accuracy:.4f}, loss {shown.loss:.4f} ({split})", highlight=False)
    console.print(cost_table(shown.cost))
    return shown


def cost_table(cost: Cost) -> Table:
    """A row a layer and one for the totals, all for one sample."""
    table = Table(title="Cost of a sample")
    table.add_column("layer")
    for column in (
        "spikes",
        "firing rate",
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
