"""The blocks of options inside an experiment's ``search``."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EarlyStopping(_Frozen):
    """Which trials are stopped before their last epoch.

    Args:
        min_epochs: of every trial; where the first rung is.
        reduction: of so many trials that reach a rung one goes on, and so many times as late is the next rung.
    """

    min_epochs: Annotated[int, Field(strict=True, ge=1)] = 1
    reduction: Annotated[int, Field(strict=True, ge=2)] = 3


class SupernetOptions(_Frozen):
    """How ``strategy: supernet`` chooses what is tried.

    Args:
        epochs: of the supernet's training; twice those of a trial where null.
        uniform: share of its steps that train a uniform placement, not one drawn at random.
        parts: placements that a step trains, each on its part of the batch.
        scored: placements that are scored with the shared weights; the whole space where it holds no more, else what
            NSGA-II comes to.
        population: of that NSGA-II.
        calibration: training batches from which the statistics of normalisation are taken anew for each score.
        samples: of the validation split that a score is measured on; all of them where null.
        threads: CPU threads that train the supernet; those of a worker where null.
    """

    epochs: Annotated[int, Field(strict=True, ge=1)] | None = None
    uniform: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.1
    parts: Annotated[int, Field(strict=True, ge=1)] = 1
    scored: Annotated[int, Field(strict=True, ge=1)] = 2048
    population: Annotated[int, Field(strict=True, ge=2)] = 64
    calibration: Annotated[int, Field(strict=True, ge=1)] = 4
    samples: Annotated[int, Field(strict=True, ge=1)] | None = None
    threads: Annotated[int, Field(strict=True, ge=1)] | None = None
