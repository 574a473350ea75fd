"""A plain PyTorch training loop that can be stopped anywhere and goes on to bitwise the same end."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quietspike.core.batches import Batches
from quietspike.core.contracts import EventDataset
from quietspike.core.cost import Cost
from quietspike.core.errors import CheckpointError, OptionError, QuietspikeError
from quietspike.core.evaluation import evaluate
from quietspike.core.kernels.memory import keep_freed_memory
from quietspike.core.layers import channels_last
from quietspike.core.recipe import Recipe
from quietspike.core.seeds import derive_seed
from quietspike.core.weights import load_tensors, load_weights, save_tensors


class DivergedError(QuietspikeError):
    """The loss or its gradients are no longer finite."""


@dataclass(frozen=True)
class EpochRow:
    """The metrics of one epoch.

    Args:
        epoch: from 1.
        train_loss: mean over the epoch's samples, as the network was at each.
        train_accuracy: likewise, 0..1.
        loss: of the validation split, after the epoch.
        accuracy: of the validation split, 0..1.
        learning_rate: that the epoch was trained with.
        seconds: that it took, validation included.
        cost: of the validation split.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    loss: float
    accuracy: float
    learning_rate: float
    seconds: float
    cost: Cost

    @property
    def data(self) -> dict[str, Any]:
        """Plain data; ``EpochRow.of(row.data) == row``."""
        return {**asdict(self), "cost": self.cost.data}

    @classmethod
    def of(cls, data: dict[str, Any]) -> EpochRow:
        """From ``data``."""
        return cls(**{**data, "cost": Cost.of(data["cost"])})


def resolve_device(name: str, worker: int = 0) -> torch.device:
    """The device of a worker: ``auto`` is its own GPU where there is one, else the CPU.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` (each worker its own) or ``cuda:n``.
        worker: which of several workers asks.

    Raises:
        OptionError: for another name, or a GPU that is not there.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and gpus == 0):
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if name != "auto" and (kind != "cuda" or (number and not number.isdigit())):
        raise OptionError(f"device={name!r}: must be auto, cpu, cuda or cuda:n")
    index = int(number) if number else worker % max(gpus, 1)
    if index >= gpus:
        raise OptionError(f"device={name!r}: this machine has {gpus} CUDA devices")
    return torch.device("cuda", index)


def train(
    network: nn.Module,
    dataset: EventDataset,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device | None = None,
    checkpoint: Path | None = None,
    record: Mapping[str, Any] | None = None,
) -> Iterator[EpochRow]:
    """Train a network in place, one metric row an epoch.

    With a ``checkpoint`` the state is written there after each epoch. Where that file exists, its rows come first and
    training goes on behind them; on the CPU the end is bitwise that of an undisturbed run.

    Args:
        network: a backbone, with the weights that it starts from; at the end in evaluation mode.
        dataset: its ``train`` and ``validation`` splits are used.
        recipe: optimiser, schedule, loss.
        seed: of the order of samples and of dropout.
        device: where to train; the CPU by default.
        checkpoint: file to go on from.
        record: what else the run depends on (network, data), as plain data; a checkpoint of another record is refused.

    Raises:
        OptionError: if there is too little in a batch to normalise.
        DivergedError: when the loss or its gradient is not finite; names epoch and step.
        CheckpointError: if the checkpoint is damaged, or of another network, recipe, seed or record.
    """
    device = device or torch.device("cpu")
    if device.type == "cpu":
        keep_freed_memory()
    channels_last(network.to(device))
    optimizer = recipe.optimize(network.parameters())
    rows: list[EpochRow] = []
    _refuse_single_values(network, dataset, recipe)
    identity = json.loads(json.dumps({"recipe": asdict(recipe), "seed": seed, "record": dict(record or {})}))
    if checkpoint is not None and checkpoint.exists():
        rows = _resume(checkpoint, network, optimizer, identity)
        yield from rows
    training = Batches(dataset.split("train"), recipe.batch_size, seed)
    validation = Batches(dataset.split("validation"), recipe.batch_size)
    while len(rows) < recipe.epochs:
        start = time.perf_counter()
        rate = recipe.rate([row.loss for row in rows])
        for group in optimizer.param_groups:
            group["lr"] = rate
        train_loss, train_accuracy = _train_epoch(network, training, optimizer, recipe, len(rows), device)
        shown = evaluate(network, validation.epoch(), recipe, device, validation.voting, images=validation.images)
        seconds = time.perf_counter() - start
        row = EpochRow(
            epoch=len(rows) + 1,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            loss=shown.loss,
            accuracy=shown.accuracy,
            learning_rate=rate,
            seconds=seconds,
            cost=shown.cost,
        )
        rows.append(row)
        if checkpoint is not None:
            _save(checkpoint, network, optimizer, {**identity, "rows": [row.data for row in rows]})
        yield row
    network.eval()


def _refuse_single_values(network: nn.Module, dataset: EventDataset, recipe: Recipe) -> None:
    """Batch normalisation of fully connected layers needs two values; torch would say so in a traceback."""
    normed = any(isinstance(module, nn.BatchNorm1d) for module in network.modules())
    if normed and dataset.steps * min(recipe.batch_size, len(dataset.split("train"))) < 2:
        raise OptionError("batch_size=1: batch normalisation needs two samples, or two steps, to learn from")


def _train_epoch(
    network: nn.Module,
    batches: Batches,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    epoch: int,
    device: torch.device,
) -> tuple[float, float]:
    """Mean loss and accuracy of one pass over the training batches."""
    network.train()
    total, right, count = 0.0, 0, 0
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        _seed(device, derive_seed(batches.seed or 0, "dropout", epoch))  # it depends on the epoch, not on the past
        for step, (frames, labels) in enumerate(batches.epoch(epoch), 1):
            frames, labels = frames.to(device), labels.to(device)
            scores = recipe.run(network, frames)
            loss = recipe.loss_of(scores, labels)
            value = loss.item()
            if not math.isfinite(value):
                raise DivergedError(f"the loss is {value} in epoch {epoch + 1}, step {step}")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            norm = _clip(network, recipe.clip_norm)
            if not norm.isfinite():  # seen here alone: a potential that is NaN never fires, so the loss stays finite
                raise DivergedError(f"the gradient is {norm.item()} in epoch {epoch + 1}, step {step}")
            optimizer.step()
            total += value * len(labels)
            right += int((scores.argmax(1) == labels).sum())
            count += len(labels)
    return total / count, right / count


def _clip(network: nn.Module, largest: float | None) -> Tensor:
    """The norm of the gradient, which is cut where it is over what is given."""
    if largest is not None:
        return nn.utils.clip_grad_norm_(network.parameters(), largest)
    return nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])


def _seed(device: torch.device, seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def _save(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, record: dict[str, Any]) -> None:
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for key, tensor in state.items():
            if isinstance(tensor, Tensor):
                tensors[f"optimizer.{index}.{key}"] = tensor
    save_tensors(path, tensors, record)


def _resume(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, identity: dict[str, Any]
) -> list[EpochRow]:
    tensors, record = load_tensors(path)
    for key, value in identity.items():
        if record.get(key) != value:
            raise CheckpointError(f"{path}: belongs to a run with {key} {record.get(key)}, not {value}")
    own = {name.removeprefix("network."): tensor for name, tensor in tensors.items() if name.startswith("network.")}
    load_weights(network, own, str(path))
    state: dict[int, dict[str, Tensor]] = {}
    try:
        parameters = list(network.parameters())
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                parameter = parameters[int(index)]
                if tensor.shape == parameter.shape:  # in its order in memory, which a fused optimiser takes as given
                    tensor = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)
                state.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        return [EpochRow.of(row) for row in record["rows"]]
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of this version ({type(error).__name__}: {error})") from error
