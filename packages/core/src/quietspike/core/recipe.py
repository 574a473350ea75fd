"""How a network is trained, as plain data: optimiser, schedule, loss."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from quietspike.core.checks import check_between, check_positive, check_whole
from quietspike.core.errors import OptionError, unknown_name

Optimizer = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "cosine", "plateau"]
Loss = Literal["cross_entropy", "mse"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Recipe:
    """Everything that training depends on beside the network, the data and the seed.

    Args:
        epochs: passes over the training split.
        batch_size: samples a step.
        optimizer: ``adam``, ``adamw`` or ``sgd``.
        learning_rate: at the start.
        weight_decay: of the optimiser.
        momentum: of ``sgd``.
        schedule: ``constant``, ``cosine`` (over the epochs) or ``plateau`` (of the validation loss).
        cosine_floor: the rate that ``cosine`` ends at.
        plateau_factor: what ``plateau`` multiplies the rate by.
        plateau_patience: epochs without improvement that ``plateau`` waits.
        loss: ``mse`` between mean spikes and the one-hot class (the papers'), or ``cross_entropy`` of mean spikes.
        label_smoothing: share of ``cross_entropy``'s target that all classes have alike.
        clip_norm: largest gradient norm; none where ``None``.
        precision: ``float32``, or ``bfloat16``: convolutions, linear layers and what lies between them in bfloat16;
            weights, potentials, moments and scores stay float32.

    Raises:
        OptionError: for a value out of its range.
        UnknownNameError: for an optimiser, schedule or loss that there is not.
    """

    # read by pydantic where the recipe is part of a configuration: unknown keys are refused
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    epochs: int = 10
    batch_size: int = 32
    optimizer: Optimizer = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.9
    schedule: Schedule = "cosine"
    cosine_floor: float = 0.0
    plateau_factor: float = 0.1
    plateau_patience: int = 5
    loss: Loss = "mse"
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for key, kind in (("optimizer", Optimizer), ("schedule", Schedule), ("loss", Loss), ("precision", Precision)):
            if getattr(self, key) not in get_args(kind):
                raise unknown_name(key, str(getattr(self, key)), get_args(kind))
        check_whole(epochs=self.epochs, batch_size=self.batch_size)
        check_whole(0, plateau_patience=self.plateau_patience)
        check_positive(learning_rate=self.learning_rate, plateau_factor=self.plateau_factor)
        if self.clip_norm is not None:
            check_positive(clip_norm=self.clip_norm)
        check_between(0, weight_decay=self.weight_decay)
        check_between(0, self.learning_rate, cosine_floor=self.cosine_floor)
        if self.cosine_floor and self.schedule != "cosine":
            raise OptionError(f"cosine_floor={self.cosine_floor}: goes with schedule=cosine")
        check_between(0, 1, label_smoothing=self.label_smoothing)
        if self.label_smoothing and self.loss != "cross_entropy":
            raise OptionError(f"label_smoothing={self.label_smoothing}: goes with loss=cross_entropy")
        check_between(0, 1, momentum=self.momentum, plateau_factor=self.plateau_factor)
        for key, share in (("momentum", self.momentum), ("plateau_factor", self.plateau_factor)):
            if share == 1:
                raise OptionError(f"{key}={share}: must be below 1")

    def run(self, network: nn.Module, frames: Tensor) -> Tensor:
        """Scores [B, classes] of frames [T, B, C, H, W], at least float32 in every precision."""
        half = self.precision == "bfloat16"
        with torch.autocast(frames.device.type, torch.bfloat16) if half else nullcontext():
            scores: Tensor = network(frames)
        return scores.to(torch.promote_types(scores.dtype, torch.float32))

    def optimize(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """A fresh optimiser over the parameters."""
        rate, decay = self.learning_rate, self.weight_decay
        if self.optimizer == "sgd":
            sgd = torch.optim.SGD(parameters, lr=rate, weight_decay=decay, momentum=self.momentum, fused=True)
            for parameter in sgd.param_groups[0]["params"] if self.momentum else ():
                # as without, but the fused one fails where only some have one: in a supernet, few learn at a step
                sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            return sgd
        kind = torch.optim.AdamW if self.optimizer == "adamw" else torch.optim.Adam
        return kind(parameters, lr=rate, weight_decay=decay, fused=True)

    def rate(self, validation_losses: Sequence[float]) -> float:
        """The learning rate of the next epoch, from the validation losses of those before it.

        A function of the past and nothing else, so that a resumed run needs no scheduler's state. It equals torch's
        ``CosineAnnealingLR`` (T_max = epochs, eta_min = floor) and ``ReduceLROnPlateau`` (its default threshold, eps).
        """
        if self.schedule == "cosine":
            left = (1 + math.cos(math.pi * len(validation_losses) / self.epochs)) / 2
            return self.cosine_floor + (self.learning_rate - self.cosine_floor) * left
        rate, best, waited = self.learning_rate, math.inf, 0
        for loss in validation_losses if self.schedule == "plateau" else ():
            if loss < best * (1 - 1e-4):
                best, waited = loss, 0
            else:
                waited += 1
            if waited > self.plateau_patience:
                lower, waited = rate * self.plateau_factor, 0
                rate = lower if rate - lower > 1e-8 else rate
        return rate

    def loss_of(self, scores: Tensor, labels: Tensor) -> Tensor:
        """The loss of scores [B, classes] against classes [B]."""
        if self.loss == "cross_entropy":
            return functional.cross_entropy(scores, labels, label_smoothing=self.label_smoothing)
        return functional.mse_loss(scores, functional.one_hot(labels, scores.shape[1]).to(scores.dtype))
