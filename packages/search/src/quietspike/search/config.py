"""An experiment as frozen data: YAML, overridden by the command line, checked with one line for each mistake."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined, to_jsonable_python

from quietspike.core import Choice, OptionError, QuietspikeError
from quietspike.core.errors import unknown_name
from quietspike.core.recipe import Recipe
from quietspike.search.reading import override, parse_yaml, read_yaml

Objective = Literal["spikes", "energy", "synaptic_operations"]
Sampler = Literal["random", "grid", "tpe", "nsga2"]

UNION_PARTS = ("str", "dict[str,any]")
"""What pydantic puts into an error's path for the two forms of a candidate."""


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


Plugin = Annotated[PluginOptions, BeforeValidator(_named)]


class SearchOptions(_Frozen):
    """Which placements are tried, and how.

    Args:
        engine: ``optuna`` (processes on this machine) or ``ray`` (Ray Tune).
        sampler: ``random``, ``grid``, ``tpe`` or ``nsga2``.
        trials: placements to train, those that fail included.
        workers: trials at once; 0 for one a core, or one a GPU.
        threads: CPU threads of a worker; another number can change a result's last digits.
        population: of ``nsga2``.
        uniform_first: try the same attention everywhere first, for each candidate.
        sites: patterns of the sites that are searched; the others have no attention.
        candidates: attention to choose from at each site; a list as an option's value stands for one candidate each.
        objective: what is minimised beside the error: ``spikes``, ``energy`` or ``synaptic_operations``, a sample.
        hypervolume_reference: the accuracy and objective that a placement must better to count.
    """

    engine: str = "optuna"
    sampler: Sampler = "nsga2"
    trials: Annotated[int, Field(gt=0)] = 40
    workers: Annotated[int, Field(ge=0)] = 0
    threads: Annotated[int, Field(ge=1)] = 1
    population: Annotated[int, Field(ge=2)] = 16
    uniform_first: bool = True
    sites: tuple[str, ...] = ("*.current",)
    candidates: tuple[str | dict[str, Any], ...] = ("none", "ta", "ca", "sa", "tca", "tsa", "csa", "tcsa")
    objective: Objective = "spikes"
    hypervolume_reference: tuple[float, Annotated[float, Field(gt=0)]] = (0.0, 1e6)


class ConfirmOptions(_Frozen):
    """What is trained anew after the search and measured on the test split.

    Args:
        seeds: trainings of each placement; 0 leaves the confirmation out.
        front: so many of the search's placements, from its front and, where that holds fewer, the fronts behind it.
        uniform: which candidates are confirmed as the same attention everywhere; all of them where null.
    """

    seeds: Annotated[int, Field(ge=0)] = 3
    front: Annotated[int, Field(ge=1)] = 8
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
        neuron: name and options.
        train: the recipe of each training.
        search: the space and how it is searched.
        confirm: what is trained anew at the end.
        tracking: MLflow.
    """

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")] = "search"
    seed: Annotated[int, Field(ge=0)] = 0
    device: str = "auto"
    output: Annotated[Path, AfterValidator(Path.expanduser)] = Path("runs")
    dataset: Plugin
    backbone: Plugin = PluginOptions(name="conv3")
    neuron: Plugin = PluginOptions(name="lif")
    train: Recipe = Recipe()
    search: SearchOptions = SearchOptions()
    confirm: ConfirmOptions = ConfirmOptions()
    tracking: TrackingOptions = TrackingOptions()

    @property
    def data(self) -> dict[str, Any]:
        """Plain data; ``Experiment.model_validate(e.data) == e``."""
        return self.model_dump(mode="json")

    @property
    def folder(self) -> Path:
        """Where this search keeps what it knows.

        The name ends with a digest of all that shapes a trial or the order of trials, so that the same command finds
        its own folder again, and a longer one (more trials, workers or seeds) goes on in it.
        """
        data = self.data
        shaping = {key: data[key] for key in ("seed", "dataset", "backbone", "neuron", "train")}
        searched = ("threads", "sampler", "population", "uniform_first", "sites", "candidates", "objective")
        shaping["search"] = {key: data["search"][key] for key in searched}
        digest = hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:8]
        return self.output / f"{self.name}-{digest}"


def load_experiment(path: Path | None = None, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment.

    Args:
        path: a YAML file; the embedded default where ``None``.
        overrides: as on the command line: ``--train.epochs 5``, ``--train.epochs=5``; values are YAML.

    Raises:
        QuietspikeError: in one line, naming the file or key, the value and what comes close.
    """
    data = parse_yaml(default_yaml()) if path is None else read_yaml(path)
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
        raise _explain(error) from None


def default_yaml() -> str:
    """The text of the embedded default experiment."""
    return resources.files("quietspike.search").joinpath("digits-default.yaml").read_text(encoding="utf-8")


def expand_candidates(candidates: Sequence[str | Mapping[str, Any]]) -> list[Choice]:
    """Choices from candidates; ``{"name": "ca", "channel_reduction": [4, 8]}`` stands for two.

    Raises:
        OptionError: for a candidate without a name.
    """
    choices: dict[Choice, None] = {}
    for candidate in candidates:
        variants: list[Any] = [candidate]
        if isinstance(candidate, Mapping):
            variants = [{}]
            for key, value in candidate.items():
                values = value if isinstance(value, list | tuple) else [value]
                variants = [{**variant, key: one} for variant in variants for one in values]
        choices.update(dict.fromkeys(Choice.of(variant) for variant in variants))
    return list(choices)


def describe_keys() -> str:
    """One line for each key of an experiment, with its default; for the command line's help."""
    lines = []
    for key, field in Experiment.model_fields.items():
        if field.annotation is PluginOptions:
            lines.append(f"  --{key}: {_default_text(field.default)}; its options are --{key}.OPTION")
        elif names := _fields_of(field.annotation):
            lines.extend(f"  --{key}.{name}: {_default_text(getattr(field.default, name))}" for name in names)
        else:
            lines.append(f"  --{key}: {_default_text(field.default)}")
    return "\n".join(lines)


def _default_text(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, PluginOptions):
        return default.name
    return "null" if default is None else json.dumps(default, default=str)


def _explain(error: ValidationError) -> QuietspikeError:
    """One line for pydantic's first complaint; for a key that does not exist, if there is one."""
    errors = error.errors()
    unknown = ("extra_forbidden", "unexpected_keyword_argument")
    first = next((e for e in errors if e["type"] in unknown), errors[0])
    path = [str(part) for part in first["loc"]]
    if first["type"] in unknown:
        known = [".".join([*path[:-1], name]) for name in _keys_at(path[:-1])]
        return unknown_name("key", ".".join(path), known)
    where = ".".join(part for part in path if part not in UNION_PARTS)
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, QuietspikeError):
        return type(cause)(f"{where}: {cause}")
    if first["type"] == "missing":
        return OptionError(f"{where}: missing")
    if first["type"] == "literal_error" and isinstance(first["input"], str):
        return unknown_name(where, first["input"], re.findall("'([^']*)'", first["ctx"]["expected"]))
    return OptionError(f"{where}: {_wording(first)}, not {first['input']!r}")


def _wording(error: ErrorDetails) -> str:
    """Pydantic's message in YAML's words."""
    if error["loc"][-1] in UNION_PARTS:
        return "must be a name, or a mapping with a name"
    message = re.sub(r" (or (an )?instance of \w+|for <class .*>)$", "", error["msg"])
    return message[0].lower() + message[1:].replace("dictionary", "mapping").replace("tuple", "list")


def _keys_at(path: Sequence[str]) -> list[str]:
    kind: Any = Experiment
    for part in path:
        kind = kind.model_fields[part].annotation
    return _fields_of(kind)


def _fields_of(kind: Any) -> list[str]:
    """The keys of a model or a dataclass; none of anything else."""
    if is_dataclass(kind):
        return [field.name for field in fields(kind)]
    return list(getattr(kind, "model_fields", {}))
