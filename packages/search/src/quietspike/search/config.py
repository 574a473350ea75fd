"""An experiment as frozen data: YAML, overridden by the command line, checked with one line for each mistake."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticUndefined

from quietspike.core import Choice, OptionError, QuietspikeError
from quietspike.core.errors import unknown_name
from quietspike.core.recipe import Recipe

Objective = Literal["spikes", "energy", "synaptic_operations"]
Sampler = Literal["random", "grid", "tpe", "nsga2"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PluginOptions(BaseModel):
    """A plugin's ``name`` and whatever options it takes; its own signature checks them."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str

    @property
    def data(self) -> dict[str, Any]:
        """``name`` and options, for ``build_plugin``."""
        return self.model_dump()


Plugin = Annotated[PluginOptions, BeforeValidator(lambda value: {"name": value} if isinstance(value, str) else value)]


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
        front: at most so many placements of the front, evenly spread over it.
        uniform: which candidates are confirmed as the same attention everywhere; all of them where null.
    """

    seeds: Annotated[int, Field(ge=0)] = 3
    front: Annotated[int, Field(ge=1)] = 8
    uniform: tuple[str | dict[str, Any], ...] | None = None


class TrackingOptions(_Frozen):
    """Where MLflow keeps the runs.

    Args:
        enabled: whether anything is logged.
        uri: MLflow's tracking URI; ``mlflow.db`` in the output folder (SQLite) where null.
        experiment: MLflow's name for the group of runs.
    """

    enabled: bool = True
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
    output: Path = Path("runs")
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
    return check_experiment(
        override(read_yaml(path) if path is not None else yaml.safe_load(default_yaml()), overrides)
    )


def override(data: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Plain data with the command line's values in it.

    >>> override({"train": {"epochs": 9}}, ["--train.epochs", "5", "--seed=1"])
    {'train': {'epochs': 5}, 'seed': 1}

    Raises:
        OptionError: for a word that is no option, or a missing value.
    """
    changed = dict(data)
    for key, value in _pairs(overrides):
        _put(changed, key, value)
    return changed


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


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping.

    Raises:
        QuietspikeError: if it is missing, no YAML, or something else; names the file and the line.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise OptionError(f"{path}: not a text file in UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f", line {mark.line + 1}" if mark else ""
        raise OptionError(f"{path}{at}: no YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(data, dict):
        raise OptionError(f"{path}: must hold keys and values, not {type(data).__name__}")
    return data


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
    """One line for each key of an experiment, with its type and default; for the command line's help."""
    lines = []
    for key, kind in Experiment.model_fields.items():
        inner = kind.annotation
        names = _fields_of(inner) if inner is not None else []
        if not names or inner is PluginOptions:
            more = ", and its options" if inner is PluginOptions else ""
            lines.append(f"  --{key}: {_default_text(kind.default)}{more}")
            continue
        lines.extend(f"  --{key}.{name}: {_default_text(getattr(kind.default, name))}" for name in names)
    return "\n".join(lines)


def _default_text(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, PluginOptions):
        return default.name
    return "null" if default is None else json.dumps(default, default=str)


def _pairs(overrides: Sequence[str]) -> list[tuple[str, Any]]:
    pairs = []
    words = list(overrides)
    while words:
        word = words.pop(0)
        if not word.startswith("--") or len(word) == 2:
            raise OptionError(f"unexpected {word!r}: options are --key.subkey value")
        key, equals, text = word[2:].partition("=")
        if not equals:
            if not words:
                raise OptionError(f"--{key}: a value is missing")
            text = words.pop(0)
        try:
            pairs.append((key, yaml.safe_load(text)))
        except yaml.YAMLError:
            raise OptionError(f"--{key}: {text!r} is no YAML value") from None
    return pairs


def _put(data: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        inner = data.get(parent)
        if isinstance(inner, str):  # a plugin given by its bare name
            inner = {"name": inner}
        data[parent] = dict(inner or {})
        data = data[parent]
    if last == "name" and data.get("name", value) != value:
        data.clear()  # another plugin: the options of the first would not fit it
    data[last] = value


def _explain(error: ValidationError) -> QuietspikeError:
    """One line for pydantic's first complaint."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"] if not str(part).startswith(("function-", "str", "dict["))]
    where = ".".join(path)
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        *parents, last = path
        known = [".".join([*parents, name]) for name in _keys_at(parents)]
        return unknown_name("key", ".".join([*parents, last]), known)
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, QuietspikeError):
        return type(cause)(f"{where}: {cause}")
    if first["type"] == "missing":
        return OptionError(f"{where}: missing")
    message = first["msg"][0].lower() + first["msg"][1:]
    return OptionError(f"{where}: {message}, not {first['input']!r}")


def _keys_at(path: Sequence[str]) -> list[str]:
    kind: Any = Experiment
    for part in path:
        kind = kind.model_fields[part].annotation
    return _fields_of(kind)


def _fields_of(kind: Any) -> list[str]:
    """The keys of a model or a dataclass; none of anything else."""
    return list(getattr(kind, "model_fields", None) or getattr(kind, "__dataclass_fields__", {}))
