import json
from pathlib import Path

import hypothesis.strategies as st
import pytest
import yaml
from hypothesis import assume, example, given
from pydantic import ValidationError

from quietspike.core import Choice, OptionError, QuietspikeError
from quietspike.core.recipe import Recipe
from quietspike.search.config import (
    Experiment,
    check_experiment,
    default_yaml,
    expand_candidates,
    load_experiment,
)
from quietspike.search.describing import EXAMPLES, describe_keys
from quietspike.search.reading import override, parse_yaml, read_yaml

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT = load_experiment(None)
YAMLS = sorted((REPOSITORY / "experiments").glob("*.yaml"))


def refusal(data):
    with pytest.raises(QuietspikeError) as caught:
        check_experiment(data)
    message = str(caught.value)
    assert "\n" not in message
    return message


def refusal_of(*words, path=None):
    with pytest.raises(QuietspikeError) as caught:
        load_experiment(path, words)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def yaml_file(tmp_path):
    def write(content):
        path = tmp_path / "e.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


# what there is to read


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.name)
def test_every_experiment_of_the_repository_loads(path):
    if "\nrows:" in path.read_text(encoding="utf-8"):
        with pytest.raises(OptionError, match=f"^{path}: is a published table; quietspike reproduce trains its rows$"):
            load_experiment(path)
        return
    experiment = load_experiment(path)
    assert experiment.name == path.stem
    assert Experiment.model_validate(experiment.data) == experiment


def test_the_repository_has_experiments():
    assert YAMLS


def test_the_embedded_default_loads():
    experiment = load_experiment(None)
    data = yaml.safe_load(default_yaml())
    assert experiment == check_experiment(data)
    assert experiment.dataset.data == data["dataset"]
    assert experiment.train == Recipe(**data["train"])


def test_a_file_says_what_it_says(yaml_file):
    experiment = load_experiment(
        yaml_file(
            """
            dataset: nmnist
            neuron: {name: plif, decay: 0.5}
            train: {epochs: 3, learning_rate: 1e-2, clip_norm: null}
            search: {candidates: [none, {name: ca, channel_reduction: [4, 8]}], sites: ["block1.*"]}
            output: ~/of/mine
            """
        )
    )
    assert experiment.dataset.data == {"name": "nmnist"}
    assert experiment.neuron.data == {"name": "plif", "decay": 0.5}
    assert experiment.train == Recipe(epochs=3, learning_rate=0.01)
    assert experiment.search.candidates == ("none", {"name": "ca", "channel_reduction": [4, 8]})
    assert experiment.search.sites == ("block1.*",)
    assert experiment.output == Path.home() / "of" / "mine"


def test_keys_that_are_left_out_have_the_documented_defaults():
    experiment = check_experiment({"dataset": "digits_dvs"})
    assert (experiment.backbone.name, experiment.neuron, experiment.device) == ("conv3", None, "auto")
    assert experiment.search.engine == "optuna"
    assert experiment.tracking.uri is None


def test_help_names_each_key_once():
    keys = [line.split(":")[0].strip() for line in describe_keys().splitlines()]
    top = {"--name", "--seed", "--device", "--output", "--dataset", "--backbone", "--neuron"}
    recipe = {f"--train.{key}" for key in Recipe.__dataclass_fields__ if not key.startswith("_")}
    assert len(keys) == len(set(keys))
    assert top | recipe | {"--search.trials", "--confirm.seeds", "--tracking.uri"} <= set(keys)
    parts = {"--search.early_stopping.min_epochs", "--search.early_stopping.reduction"}
    assert parts | {"--search.early_stopping"} <= set(keys)
    assert not any("_pydantic" in key for key in keys)


@pytest.mark.parametrize(("key", "example"), EXAMPLES.items())
def test_an_example_in_the_help_is_one(key, example):
    assert load_experiment(overrides=[f"--{key}", example]).search != DEFAULT.search
    assert (
        f"  --{key}: {json.dumps(DEFAULT.data['search'][key.removeprefix('search.')])}; as {example}" in describe_keys()
    )


# the command line's values


def early(experiment):
    return experiment.search.early_stopping.min_epochs, experiment.search.early_stopping.reduction


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--train.epochs", "5"], lambda e: e.train.epochs == 5),
        (["--train.epochs=5"], lambda e: e.train.epochs == 5),
        (["--train.learning_rate", "1e-3"], lambda e: e.train.learning_rate == 1e-3),
        (["--train.clip_norm", "null"], lambda e: e.train.clip_norm is None),
        (["--search.uniform_first", "false"], lambda e: e.search.uniform_first is False),
        (["--search.early_stopping.reduction", "4"], lambda e: early(e) == (1, 4)),
        (["--search.early_stopping.min_epochs=2"], lambda e: early(e) == (2, 3)),
        (["--search.early_stopping", "{}"], lambda e: early(e) == (1, 3)),
        (["--search.early_stopping", "null"], lambda e: e.search.early_stopping is None),
        (["--search.candidates", "[none, tcsa]"], lambda e: e.search.candidates == ("none", "tcsa")),
        (["--search.sites=['block1.*']"], lambda e: e.search.sites == ("block1.*",)),
        (["--name", "mine"], lambda e: e.name == "mine" and e.dataset == DEFAULT.dataset),
        (["--output", "some=where"], lambda e: e.output == Path("some=where")),
        (["--output=some=where"], lambda e: e.output == Path("some=where")),
        (["--dataset.noise_hz", "2e1"], lambda e: e.dataset.data["noise_hz"] == 20.0),
        (["--dataset.root", "2026-01-31"], lambda e: e.dataset.data["root"] == "2026-01-31"),
        (["--seed", "1", "--seed", "2"], lambda e: e.seed == 2),
        (["--neuron", "plif"], lambda e: e.neuron.data == {"name": "plif"}),
        (["--neuron.threshold", "0.5"], lambda e: e.neuron.data == {"name": "lif", "threshold": 0.5}),
        (["--backbone.norm", "false"], lambda e: e.backbone.data == {**DEFAULT.backbone.data, "norm": False}),
        (["--dataset.name", "nmnist"], lambda e: e.dataset.data == {"name": "nmnist"}),
        (["--dataset.name", DEFAULT.dataset.name], lambda e: e.dataset == DEFAULT.dataset),
        (
            ["--dataset.root", "x", "--dataset.name", "nmnist"],
            lambda e: e.dataset.data == {"name": "nmnist", "root": "x"},
        ),
        (["--dataset.root", "x", "--dataset", "nmnist"], lambda e: e.dataset.data == {"name": "nmnist", "root": "x"}),
    ],
)
def test_words_override_the_file(words, found):
    assert found(load_experiment(None, words)), words


def test_an_option_of_a_plugin_that_the_file_does_not_name_goes_to_the_default_one(yaml_file):
    experiment = load_experiment(yaml_file("dataset: nmnist"), ["--backbone.widths", "[1, 2, 3]"])
    assert experiment.backbone.data == {"name": "conv3", "widths": [1, 2, 3]}


def test_overriding_leaves_the_given_data_as_it_was():
    data = {"train": {"epochs": 9}, "dataset": {"name": "a", "steps": 3}}
    before = json.dumps(data)
    assert override(data, ["--train.epochs=1", "--dataset.name=b"]) == {
        "train": {"epochs": 1},
        "dataset": {"name": "b"},
    }
    assert json.dumps(data) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--train.epochs"], "--train.epochs: a value is missing"),
        (["--train.epochs", "--seed", "1"], "--train.epochs: a value is missing"),
        (["epochs", "3"], "unexpected 'epochs': options are --key.subkey value"),
        (["--", "3"], "unexpected '--': options are --key.subkey value"),
        (["--seed", "[1"], "--seed: '[1' is no YAML value"),
        (["--seed", "@1"], "--seed: '@1' is no YAML value"),
        (["--seed.of", "1"], "seed: input should be a valid integer, not {'of': 1}"),
        (["--search.sites.x", "1"], "search.sites: input should be a valid list, not {'x': 1}"),
        (["--train.epohcs", "3"], "key: no 'train.epohcs'; did you mean 'train.epochs'?"),
        (["--search.trails", "3"], "key: no 'search.trails'; did you mean 'search.trials'?"),
        (["--tarin.epochs", "3"], "key: no 'tarin'; did you mean 'train'?"),
        (["--strict", "1"], f"key: no 'strict'; there are: {', '.join(sorted(Experiment.model_fields))}"),
        (["--search.str", "1"], "key: no 'search.str'; did you mean 'search.strategy'?"),
    ],
)
def test_a_mistaken_word_is_refused(words, message):
    assert refusal_of(*words) == message


# mistakes in the data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "dataset: missing"),
        ({"datset": "digits_dvs"}, "key: no 'datset'; did you mean 'dataset'?"),
        ({"dataset": {"steps": 3}}, "dataset.name: missing"),
        ({"dataset": 5}, "dataset: input should be a valid mapping, not 5"),
        ({"dataset": {"name": 5}}, "dataset.name: input should be a valid string, not 5"),
        ({"train": {"epochs": -1}}, "train: epochs=-1: must be a whole number of at least 1"),
        ({"train": {"epochs": 1.5}}, "train.epochs: input should be a valid integer, got a number with a fractional part, not 1.5"),  # noqa: E501
        ({"train": {"optimizer": "adm"}}, "train.optimizer: no 'adm'; did you mean 'adam'?"),
        ({"train": {"momentum": -0.1}}, "train: momentum=-0.1: must be a finite number from 0 to 1"),
        ({"train": {"epochs": True}}, "train: epochs: must be a number or a name, not True"),
        ({"train": {"learning_rate": float("inf")}}, "train: learning_rate=inf: must be a positive number"),
        ({"seed": True}, "seed: input should be a valid integer, not True"),
        ({"train": {"epohcs": 1}}, "key: no 'train.epohcs'; did you mean 'train.epochs'?"),
        ({"train": 3}, "train: input should be a mapping, not 3"),
        ({"search": []}, "search: input should be a valid mapping, not []"),
        ({"search": {"sampler": "nsga-2"}}, "search.sampler: no 'nsga-2'; did you mean 'nsga2'?"),
        ({"search": {"sampler": 3}}, "search.sampler: input should be 'random', 'grid', 'tpe', 'nsga2' or 'gp', not 3"),
        ({"search": {"objective": "spikes"}}, "key: no 'search.objective'; did you mean 'search.objectives'?"),
        ({"search": {"objectives": ["accuracy", "spike"]}}, "search.objectives: no 'spike'; did you mean 'spikes'?"),
        ({"search": {"objectives": ["spikes", "energy"]}}, "search.objectives: accuracy is missing; a bound for it goes to search.constraints"),  # noqa: E501
        ({"search": {"objectives": ["accuracy"]}}, "search.objectives: a cost is missing beside accuracy; there are: spikes, energy, synaptic_operations, parameters, latency"),  # noqa: E501
        ({"search": {"objectives": ["accuracy", "energy", "energy"]}}, "search.objectives: 'energy' comes twice"),
        ({"search": {"objectives": "spikes"}}, "search.objectives: input should be a valid list, not 'spikes'"),
        ({"search": {"constraints": ["spike <= 3"]}}, "search.constraints: no 'spike'; did you mean 'spikes'?"),
        ({"search": {"constraints": ["spikes < 3"]}}, "search.constraints: 'spikes < 3': must read as 'spikes <= 20000' or 'accuracy >= 0.95'"),  # noqa: E501
        ({"search": {"constraints": ["spikes <= many"]}}, "search.constraints: 'spikes <= many': 'many' is no number of at least 0"),  # noqa: E501
        ({"search": {"constraints": ["energy <= -1"]}}, "search.constraints: 'energy <= -1': '-1' is no number of at least 0"),  # noqa: E501
        ({"search": {"constraints": ["accuracy >= 95"]}}, "search.constraints: 'accuracy >= 95': the accuracy lies between 0 and 1"),  # noqa: E501
        ({"search": {"constraints": ["spikes >= 9", "spikes <= 3"]}}, "search.constraints: spikes <= 3 and spikes >= 9: nothing meets both"),  # noqa: E501
        ({"search": {"cpus": True}}, "search.cpus: input should be a valid number, not True"),
        ({"search": {"constraints": [3]}}, "search.constraints: 3: must read as 'spikes <= 20000' or 'accuracy >= 0.95'"),  # noqa: E501
        ({"search": {"strategy": "supernet", "settings": {"neuron.decay": [0.5]}}}, "search: strategy='supernet': a supernet holds attention alone; leave search.settings out"),  # noqa: E501
        ({"search": {"constraints": 3}}, "search.constraints: input should be a valid list, not 3"),
        ({"search": {"trials": 0}}, "search.trials: input should be greater than 0, not 0"),
        ({"search": {"workers": -1}}, "search.workers: input should be greater than or equal to 0, not -1"),
        ({"search": {"candidates": "ta"}}, "search.candidates: input should be a valid list, not 'ta'"),
        ({"search": {"candidates": ["ta", 5]}}, "search.candidates.1: must be a name, or a mapping with a name, not 5"),
        ({"search": {"hypervolume_reference": [0]}}, "search: hypervolume_reference: must have a value for each of accuracy, spikes"),  # noqa: E501
        ({"search": {"hypervolume_reference": [0, float("inf")]}}, "search.hypervolume_reference.1: input should be a finite number, not inf"),  # noqa: E501
        ({"search": {"early_stopping": {"reduce": 3}}}, "key: no 'search.early_stopping.reduce'; did you mean 'search.early_stopping.reduction'?"),  # noqa: E501
        ({"search": {"early_stopping": {"reduction": 1}}}, "search.early_stopping.reduction: input should be greater than or equal to 2, not 1"),  # noqa: E501
        ({"search": {"early_stopping": {"min_epochs": 0}}}, "search.early_stopping.min_epochs: input should be greater than or equal to 1, not 0"),  # noqa: E501
        ({"search": {"early_stopping": {"min_epochs": 1.5}}}, "search.early_stopping.min_epochs: input should be a valid integer, not 1.5"),  # noqa: E501
        ({"search": {"early_stopping": True}}, "search.early_stopping: input should be a valid mapping, not True"),
        ({"confirm": {"seed": 3}}, "key: no 'confirm.seed'; did you mean 'confirm.seeds'?"),
        ({"confirm": {"seeds": "many"}}, "confirm.seeds: input should be a valid integer, not 'many'"),
        ({"tracking": {"url": "x"}}, "key: no 'tracking.url'; did you mean 'tracking.uri'?"),
        ({"name": "a b"}, r"name: string should match pattern '^[\w.-]+$', not 'a b'"),
        ({"output": 3}, "output: input is not a valid path, not 3"),
        ({"seed": -1}, "seed: input should be greater than or equal to 0, not -1"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_key_value_and_near_match(data, message):
    whole = data if "dataset" in data or "datset" in data or not data else {"dataset": "digits_dvs", **data}
    assert refusal(whole) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("train: {epochs: 3\nseed: 1", "{path}, line 2: no YAML: expected ',' or '}}', but got ':'"),
        ("- 1\n- 2", "{path}: must hold keys and values, not list"),
        ("", "{path}: must hold keys and values, not nothing"),
        ("just text", "{path}: must hold keys and values, not str"),
        ("3: 4", "{path}: the key 3 is no text"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "{path}: not a text file in UTF-8"),
        ("dataset: !!python/object/apply:os.system [exit]", "{path}, line 1: no YAML: could not determine"),
    ],
)
def test_a_file_that_is_none_is_refused(yaml_file, content, message):
    path = yaml_file(content)
    assert refusal_of(path=path).replace(": line", ", line").startswith(message.format(path=path))


def test_control_characters_are_refused_in_one_line(yaml_file):
    path = yaml_file(b"seed: \x00")
    message = refusal_of(path=path)
    assert message.startswith(f"{path}: no YAML: ")


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_opened_is_named(tmp_path, name):
    message = refusal_of(path=tmp_path / name)
    assert message in (f"{tmp_path / name}: No such file or directory", f"{tmp_path / name}: Is a directory")


def test_it_is_frozen():
    experiment = check_experiment({"dataset": "digits_dvs"})
    for part, key in ((experiment, "seed"), (experiment.search, "trials"), (experiment.dataset, "name")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, key, 1)
    with pytest.raises(AttributeError):
        experiment.train.epochs = 3


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
KEYS = ["name", "seed", "device", "output", "dataset", "backbone", "train", "search", "confirm", "tracking"]
INNER = [
    "name",
    "epochs",
    "optimizer",
    "clip_norm",
    "trials",
    "sampler",
    "candidates",
    "sites",
    "seeds",
    "uri",
    "str",
    "x",
]


@given(
    st.dictionaries(
        st.sampled_from(KEYS) | st.text(max_size=4) | st.integers(0, 3),
        st.dictionaries(st.sampled_from(INNER) | st.integers(0, 3), json_values, max_size=3) | json_values,
        max_size=4,
    )
)
@example({"dataset": "x", "train": {"learning_rate": float("inf")}})
@example({"dataset": "x", 1: 2})
def test_any_data_is_an_experiment_or_one_line(data):
    data = {"dataset": "digits_dvs", **data}
    try:
        experiment = check_experiment(data)
    except QuietspikeError as error:
        assert str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert Experiment.model_validate(experiment.data) == experiment
        assert experiment.folder.parent == experiment.output


@given(st.text(max_size=30))
@example("0b_")
@example("2026-13-45")
@example("<<: 1")
@example("? [a]\n: b")
def test_any_text_is_yaml_or_one_line(text):
    try:
        parse_yaml(text)
    except QuietspikeError as error:
        assert "\n" not in str(error)  # noqa: PT017


# there and back

scalars = st.integers(-5, 5) | st.booleans() | st.text("abc", max_size=3) | st.floats(-1, 1)
plugins = st.builds(
    lambda name, options: {**options, "name": name},
    st.text("abc_", min_size=1, max_size=5),
    st.dictionaries(st.text("xyz", min_size=1, max_size=3), scalars | st.lists(st.integers(), max_size=2), max_size=2),
)
experiments = st.fixed_dictionaries(
    {"dataset": plugins},
    optional={
        "name": st.text("abc.-_", min_size=1, max_size=5),
        "seed": st.integers(0, 2**32),
        "device": st.sampled_from(["auto", "cpu", "cuda:1"]),
        "output": st.text("abc/.", min_size=1, max_size=5),
        "backbone": plugins,
        "neuron": st.none() | plugins,
        "train": st.fixed_dictionaries(
            {},
            optional={
                "epochs": st.integers(1, 9),
                "learning_rate": st.floats(1e-6, 1),
                "optimizer": st.sampled_from(["adam", "adamw", "sgd"]),
                "clip_norm": st.none() | st.floats(0.1, 5),
            },
        ),
        "search": st.fixed_dictionaries(
            {},
            optional={
                "trials": st.integers(1, 99),
                "sampler": st.sampled_from(["random", "grid", "tpe", "nsga2"]),
                "sites": st.lists(st.text("ab*.", min_size=1), min_size=1, max_size=2),
                "candidates": st.lists(st.text("ab", min_size=1) | plugins, max_size=3),
                "hypervolume_reference": st.tuples(st.floats(0, 1), st.floats(1, 1e9)),
            },
        ),
        "confirm": st.fixed_dictionaries({}, optional={"seeds": st.integers(0, 5), "front": st.integers(1, 9)}),
        "tracking": st.fixed_dictionaries({}, optional={"uri": st.none() | st.text("abc:/", max_size=8)}),
    },
)


@given(experiments)
def test_it_comes_back_from_its_data_json_and_yaml(data):
    experiment = check_experiment(data)
    for again in (
        experiment.data,
        json.loads(json.dumps(experiment.data)),
        parse_yaml(yaml.safe_dump(experiment.data)),
    ):
        assert Experiment.model_validate(again) == experiment
        assert Experiment.model_validate(again).folder == experiment.folder


def test_options_from_python_come_back_too():
    experiment = Experiment(dataset={"name": "nmnist", "root": Path("here"), "window": (1, 2)})
    assert experiment.dataset.data == {"name": "nmnist", "root": "here", "window": [1, 2]}
    assert Experiment.model_validate(experiment.data) == experiment


# the folder

BASE = {"dataset": {"name": "digits_dvs", "steps": 6, "root": "data"}}


@pytest.mark.parametrize(
    "change",
    [
        {"search": {"trials": 99}},
        {"search": {"workers": 3}},
        {"search": {"engine": "ray"}},
        {"search": {"hypervolume_reference": [0.1, 10]}},
        {"confirm": {"seeds": 9, "front": 1, "uniform": ["none"]}},
        {"tracking": {"uri": "http://there", "experiment": "mine"}},
        {"device": "cuda:1"},
        {"train": {"epochs": 10}},  # the default, spelt out
        {"backbone": {"name": "conv3"}},
        {"dataset": {"root": "data", "steps": 6, "name": "digits_dvs"}},
        {"dataset": {**BASE["dataset"], "root": "./data/../data/"}},
        {"dataset": {**BASE["dataset"], "root": str(Path("data").resolve()), "download": True}},
    ],
)
def test_a_search_goes_on_in_its_folder_when_this_changes(change):
    assert check_experiment({**BASE, **change}).folder == check_experiment(BASE).folder


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"dataset": {**BASE["dataset"], "steps": 7}},
        {"dataset": {**BASE["dataset"], "root": "other"}},
        {"backbone": {"name": "conv3", "norm": False}},
        {"neuron": "plif"},
        {"train": {"epochs": 11}},
        {"search": {"threads": 2}},
        {"search": {"sampler": "tpe"}},
        {"search": {"population": 9}},
        {"search": {"uniform_first": False}},
        {"search": {"sites": ["block1.*"]}},
        {"search": {"candidates": ["none"]}},
        {"search": {"objectives": ["accuracy", "energy"]}},
        {"search": {"objectives": ["accuracy", "spikes", "energy"]}},
        {"search": {"constraints": ["spikes <= 20000"]}},
        {"search": {"early_stopping": {}}},
    ],
)
def test_what_shapes_a_trial_has_a_folder_of_its_own(change):
    assert check_experiment({**BASE, **change}).folder != check_experiment(BASE).folder


def test_the_folder_lies_in_the_output_and_begins_with_the_name():
    one = check_experiment({**BASE, "name": "mine", "output": "there"}).folder
    other = check_experiment({**BASE, "name": "yours", "output": "elsewhere"}).folder
    assert one.parent == Path("there")
    assert one.name.startswith("mine-")
    assert one.name.removeprefix("mine-") == other.name.removeprefix("yours-")


# candidates


def labels(*candidates):
    return [choice.label for choice in expand_candidates(candidates)]


def test_a_list_stands_for_one_candidate_each():
    assert labels({"name": "ca", "channel_reduction": [4, 8]}) == ["ca(channel_reduction=4)", "ca(channel_reduction=8)"]
    assert labels({"name": ["ta", "ca"]}) == ["ta", "ca"]
    assert labels({"name": "x", "a": [1, 2], "b": [3, 4]}) == [
        "x(a=1, b=3)",
        "x(a=1, b=4)",
        "x(a=2, b=3)",
        "x(a=2, b=4)",
    ]


def test_each_candidate_counts_once_in_the_order_given():
    assert labels("ta", "none", {"name": "ta"}, {"name": "ca", "r": [4, 4]}, {"name": "ca", "r": 4}) == [
        "ta",
        "none",
        "ca(r=4)",
    ]


@pytest.mark.parametrize("candidate", [{}, {"channel_reduction": 4}, {"name": 3}, {"name": "ca", "r": {"x": 1}}])
def test_a_candidate_without_name_or_with_a_mapping_as_value_is_refused(candidate):
    with pytest.raises(QuietspikeError) as caught:
        expand_candidates([candidate])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ([{"name": "ca", "r": []}], "search.candidates: r=[]: there is nothing to choose from"),
        ([{"name": []}], "search.candidates: name=[]: there is nothing to choose from"),
        ([{"name": "ca", "r": [1, "1"]}], "search.candidates: two of them read ca(r=1)"),
    ],
)
def test_a_candidate_that_would_vanish_is_refused(candidates, message):
    with pytest.raises(OptionError) as caught:
        expand_candidates(candidates)
    assert str(caught.value) == message


def test_numbers_and_flags_are_candidates_of_their_own():
    assert labels({"name": "x", "a": [1, True, 1.0]}) == ["x(a=1)", "x(a=True)", "x(a=1.0)"]


@given(
    st.dictionaries(
        st.text("abc", min_size=1), st.lists(st.integers(), min_size=1, max_size=3, unique=True), max_size=3
    )
)
def test_expansion_is_the_product_of_the_lists(options):
    assume("name" not in options)
    expanded = expand_candidates([{"name": "x", **options}])
    size = 1
    for values in options.values():
        size *= len(values)
    assert len(expanded) == len(set(expanded)) == size
    for choice in expanded:
        assert isinstance(choice, Choice)
        assert all(value in options[key] for key, value in choice.options)


def test_reading_gives_plain_data(yaml_file):
    assert read_yaml(yaml_file("a: {b: [1, 2.5, 1e3, yes, null, x]}")) == {
        "a": {"b": [1, 2.5, 1000.0, True, None, "x"]}
    }


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"strategy": "supernt"}, "search.strategy: no 'supernt'; did you mean 'supernet'?"),
        ({"supernet": {"epoch": 3}}, "key: no 'search.supernet.epoch'; did you mean 'search.supernet.epochs'?"),
        ({"supernet": {"epochs": 0}}, "search.supernet.epochs: input should be greater than or equal to 1, not 0"),
        ({"supernet": {"uniform": 2}}, "search.supernet.uniform: input should be less than or equal to 1, not 2"),
        ({"supernet": {"uniform": True}}, "search.supernet.uniform: input should be a valid number, not True"),
        (
            {"strategy": "supernet", "objectives": ["accuracy", "latency"]},
            "search: strategy='supernet': no latency is measured in a supernet; ask for another cost",
        ),
        ({"supernet": 3}, "search.supernet: input should be a valid mapping, not 3"),
    ],
)
def test_mistakes_about_a_supernet_are_named(options, complaint):
    with pytest.raises(QuietspikeError) as caught:
        check_experiment({"dataset": "digits_dvs", "search": options})
    assert str(caught.value) == complaint


def test_a_supernets_keys_are_in_the_help_and_can_be_set():
    assert "  --search.supernet.scored: 2048" in describe_keys().splitlines()
    experiment = load_experiment(None, ["--search.strategy", "supernet", "--search.supernet.epochs", "3"])
    assert experiment.search.supernet.epochs == 3
    assert check_experiment(experiment.data) == experiment
