"""An experiment as frozen data: YAML, overridden by the command line, checked with one line for each mistake."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import to_jsonable_python

from quietspike.core import OptionError
from quietspike.core.recipe import Recipe
from quietspike.search.blocks import EarlyStopping as EarlyStopping
from quietspike.search.blocks import SupernetOptions
from quietspike.search.candidates import expand_candidates as expand_candidates
from quietspike.search.early_stopping import find_rungs
from quietspike.search.goals import Constraint, Goals, check_constraints, check_objectives
from quietspike.search.mistakes import explain
from quietspike.search.reading import override, parse_yaml, read_yaml
from quietspike.search.setting import Setting
from quietspike.search.settings import check_settings, spread
from quietspike.search.shaping import shape_of

Sampler = Literal["random", "grid", "tpe", "nsga2", "gp"]
Strategy = Literal["trials", "supernet"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PluginOptions(BaseModel):
    """A plugin's ``name`` and whatever options it takes; its own signature checks them."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str

    @property
    def data(self) -> dict[str, Any]:
        """``name`` and options, for ``build_plugin``."""
        return self.model_dump()


def _named(value: Any) -> Any:
    """Name and options as JSON has them, so that they come back from a file as they were; ``"lif"`` is a name."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping):
        return to_jsonable_python(dict(value), inf_nan_mode="constants")
    return value


def _whole_above_one(gpus: float) -> float:
    if gpus > 1 and gpus != int(gpus):
        raise OptionError(f"a share of one, or a whole number of them, not {gpus:g}")
    return gpus


def _numbered(value: Any) -> Any:
    """A recipe as it was written, where pydantic would take ``true`` for 1."""
    for key, entry in value.items() if isinstance(value, Mapping) else ():
        if isinstance(entry, bool):
            raise OptionError(f"{key}: must be a number or a name, not {entry}")
    return value


def _constraints(value: Any) -> Any:
    """Each as it reads; a single one needs no list."""
    texts = [value] if isinstance(value, str) else value
    return [bound.text for bound in check_constraints(texts)] if isinstance(texts, list | tuple) else texts


Plugin = Annotated[PluginOptions, BeforeValidator(_named)]


class SearchOptions(_Frozen):
    """Which placements are tried, and how.

    Args:
        engine: ``optuna`` (processes on this machine), ``ray`` (Ray Tune) or ``tabular`` (replays ``table``).
        strategy: ``trials`` (the sampler says what is tried, from what was tried before) or ``supernet`` (one network
            of all candidates is trained, and the best by its shared weights are tried; no sampler is asked).
        supernet: how that is done.
        sampler: ``gp`` (Gaussian processes over which dimensions each site's attention weighs, which needs the fewest
            trials), ``nsga2``, ``tpe``, ``grid`` or ``random``.
        trials: placements to train, those that fail included.
        workers: trials at once; 0 for one a core, or one a GPU.
        threads: CPU threads of a worker; another number can change a result's last digits.
        population: of ``nsga2``.
        uniform_first: try the same attention everywhere first, for each candidate.
        sites: patterns of the sites that are searched; the others have no attention.
        candidates: attention to choose from at each site; a list as an option's value stands for one candidate each.
        objectives: ``accuracy``, and at least one cost to minimise: ``spikes``, ``energy``, ``synaptic_operations``,
            ``parameters``, or ``latency`` (milliseconds for one sample on the device; it is never the same twice).
        constraints: what must hold, such as ``spikes <= 20000`` or ``accuracy >= 0.95``; the samplers prefer what is
            nearer to it, and nothing else enters the front.
        table: file of ``quietspike tabulate``, which the engine ``tabular`` replays.
        address: of the cluster for ``ray``: ``auto`` (on one of its nodes) or ``HOST:PORT``; where null that of
            RAY_ADDRESS, else one on this machine.
        cpus: of ``ray``'s cluster, that a trial takes; fractions share one; ``threads`` where null.
        gpus: of ``ray``'s cluster, that a trial takes; fractions share one; an even share for each worker where null.
        settings: further options to search, by keys such as ``neuron.decay``: a list of choices, or ``{low, high, log,
            step}``; one with ``when: {neuron.name: plif}`` counts only where another setting has that value.
        hypervolume_reference: the accuracy and the costs that a design must better to count; where null accuracy 0, and
            10⁶ spikes, 1 mJ, 10⁹ synaptic operations or parameters, 1 s.
        early_stopping: ``min_epochs`` and ``reduction``, or ``{}`` for their defaults: trials are compared after
            ``min_epochs``, ``min_epochs * reduction``, … epochs, and go on where they are among the first of those that
            came so far; none is stopped where null. Constraints are not looked at there.
    """

    engine: str = "optuna"
    strategy: Strategy = "trials"
    supernet: SupernetOptions = SupernetOptions()
    sampler: Sampler = "gp"
    trials: Annotated[int, Field(strict=True, gt=0)] = 40
    workers: Annotated[int, Field(strict=True, ge=0)] = 0
    threads: Annotated[int, Field(strict=True, ge=1)] = 1
    population: Annotated[int, Field(strict=True, ge=2)] = 16
    uniform_first: bool = True
    sites: tuple[str, ...] = ("*.current",)
    candidates: tuple[str | dict[str, Any], ...] = ("none", "ta", "ca", "sa", "tca", "tsa", "csa", "tcsa")
    objectives: Annotated[tuple[str, ...], AfterValidator(check_objectives)] = ("accuracy", "spikes")
    constraints: Annotated[tuple[str, ...], BeforeValidator(_constraints)] = ()
    settings: Annotated[dict[str, Setting], BeforeValidator(spread), AfterValidator(check_settings)] = {}
    table: Annotated[Path, AfterValidator(Path.expanduser)] | None = None
    address: str | None = None
    cpus: Annotated[float, Field(strict=True, gt=0)] | None = None
    gpus: Annotated[float, Field(strict=True, ge=0), AfterValidator(_whole_above_one)] | None = None
    hypervolume_reference: tuple[float, ...] | None = None
    early_stopping: EarlyStopping | None = None

    @model_validator(mode="after")
    def _check_reference(self) -> SearchOptions:
        reference = self.hypervolume_reference
        if reference is not None and len(reference) != len(self.objectives):
            raise OptionError(f"hypervolume_reference: must have a value for each of {', '.join(self.objectives)}")
        if reference is not None and min(reference[1:]) <= 0:
            raise OptionError(f"hypervolume_reference: a cost must be greater than 0, not {min(reference[1:])}")
        return self

    @model_validator(mode="after")
    def _check_strategy(self) -> SearchOptions:
        if self.strategy == "supernet" and "latency" in self.asked:
            raise OptionError("strategy='supernet': no latency is measured in a supernet; ask for another cost")
        if self.strategy == "supernet" and self.settings:
            raise OptionError("strategy='supernet': a supernet holds attention alone; leave search.settings out")
        return self

    @model_validator(mode="after")
    def _check_grid(self) -> SearchOptions:
        for key, setting in self.settings.items():
            if self.sampler == "grid" and setting.values is None:
                raise OptionError(f"settings.{key}: is a range without a step, and sampler=grid has no end then")
        return self

    @property
    def objective(self) -> str:
        """The first cost among the objectives: that of plots and progress."""
        return self.objectives[1]

    @property
    def asked(self) -> frozenset[str]:
        """All figures that an objective or a constraint names."""
        return frozenset(self.objectives) | {bound.figure for bound in self.goals.constraints}

    @property
    def goals(self) -> Goals:
        """Objectives and constraints."""
        constraints = tuple(map(Constraint.parse, self.constraints))
        return Goals(self.objectives[1:], self.hypervolume_reference or (), constraints)


class ConfirmOptions(_Frozen):
    """What is trained anew after the search and measured on the test split.

    Args:
        seeds: trainings of each placement; 0 leaves the confirmation out.
        front: so many other placements of the search, from their front and, where that holds fewer, those behind.
        uniform: which candidates are confirmed as the same attention everywhere; all of them where null.
    """

    seeds: Annotated[int, Field(strict=True, ge=0)] = 3
    front: Annotated[int, Field(strict=True, ge=1)] = 8
    uniform: tuple[str | dict[str, Any], ...] | None = None


class TrackingOptions(_Frozen):
    """Where MLflow keeps the runs.

    Args:
        uri: MLflow's tracking URI; ``mlflow.db`` in the output folder (SQLite) where null.
        experiment: MLflow's name for the group of runs.
    """

    uri: str | None = None
    experiment: str = "quietspike"


class Experiment(_Frozen):
    """Everything that a search, a training or an evaluation depends on.

    Args:
        name: begins the name of the run's folder.
        seed: of weights, orders and sampler.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        output: folder for all runs.
        dataset: name and options.
        backbone: name and options.
        neuron: name and options; the backbone's own where null.
        train: the recipe of each training.
        search: the space and how it is searched.
        confirm: what is trained anew at the end.
        tracking: MLflow.
    """

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")] = "search"
    seed: Annotated[int, Field(strict=True, ge=0)] = 0
    device: str = "auto"
    output: Annotated[Path, AfterValidator(Path.expanduser)] = Path("runs")
    dataset: Plugin
    backbone: Plugin = PluginOptions(name="conv3")
    neuron: Plugin | None = None
    train: Annotated[Recipe, BeforeValidator(_numbered)] = Recipe()
    search: SearchOptions = SearchOptions()
    confirm: ConfirmOptions = ConfirmOptions()
    tracking: TrackingOptions = TrackingOptions()

    @property
    def data(self) -> dict[str, Any]:
        """Plain data; ``Experiment.model_validate(e.data) == e``."""
        return self.model_dump(mode="json")

    @property
    def network(self) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Backbone and neuron, as ``build_network`` and ``find_sites`` take them."""
        return self.backbone.data, None if self.neuron is None else self.neuron.data

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs after which a trial may be stopped."""
        options = self.search.early_stopping
        return () if options is None else find_rungs(self.train.epochs, options.min_epochs, options.reduction)

    @property
    def folder(self) -> Path:
        """Where this search keeps what it knows.

        The name ends with a digest of all that shapes a trial or the order of trials, so that the same command finds
        its own folder again, and a longer one (more trials, workers or seeds) goes on in it.
        """
        digest = hashlib.sha256(json.dumps(self.shaping, sort_keys=True).encode()).hexdigest()[:8]
        return self.output / f"{self.name}-{digest}"

    @property
    def shaping(self) -> dict[str, Any]:
        """All that shapes a trial or the order of trials."""
        return shape_of(self.data)


def load_experiment(path: Path | None = None, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment.

    Args:
        path: a YAML file; the embedded default where ``None``.
        overrides: as on the command line: ``--train.epochs 5``, ``--train.epochs=5``; values are YAML.

    Raises:
        QuietspikeError: in one line, naming the file or key, the value and what comes close.
    """
    data = parse_yaml(default_yaml()) if path is None else read_yaml(path)
    if {"rows", "experiment"} <= data.keys():
        raise OptionError(f"{path}: is a published table; quietspike reproduce trains its rows")
    defaults = {key: field.default for key, field in Experiment.model_fields.items()}
    plugins = {key: default.name for key, default in defaults.items() if isinstance(default, PluginOptions)}
    return check_experiment(override({**plugins, **data}, overrides))


def check_experiment(data: Mapping[str, Any]) -> Experiment:
    """An experiment from plain data.

    Raises:
        QuietspikeError: in one line, for the first mistake.
    """
    try:
        return Experiment.model_validate(data)
    except ValidationError as error:
        raise explain(error, Experiment) from None


def default_yaml() -> str:
    """The text of the embedded default experiment."""
    return resources.files("quietspike.search").joinpath("digits-default.yaml").read_text(encoding="utf-8")
