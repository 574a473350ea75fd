"""What a search varies beside attention: choices, ranges, conditions, and the networks that come of them."""

import itertools
import json
import math
import os

import optuna
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quietspike.core import QuietspikeError
from quietspike.search.config import check_experiment, load_experiment
from quietspike.search.confirmation import plan_confirmation
from quietspike.search.design import Design
from quietspike.search.results import Outcome, TrialResult
from quietspike.search.setting import Setting, suggest
from quietspike.search.single import read_design
from quietspike.search.space import open_space
from quietspike.search.study import SearchStudy

CONDITIONAL = {
    "neuron.name": ["lif", "plif"],
    "neuron.decay": {"choices": [0.25, 0.5, 0.75], "when": {"neuron.name": "lif"}},
    "backbone.widths": {"choices": [[4, 4], [4, 4, 4]]},
    "backbone.pools": {"choices": [[2, 2]], "when": {"backbone.widths": [[4, 4]]}},
    "train.loss": ["mse", "cross_entropy"],
    "train.label_smoothing": {"choices": [0.0, 0.1], "when": {"train.loss": "cross_entropy"}},
}
"""2 or 3 blocks; the third's site, the decay and the smoothing are there in some designs alone."""

PLAIN = {"sites": ["block*.current"], "candidates": ["none", "ta"], "population": 4, "trials": 20}


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
def experiment_of(tiny_data):
    def make(settings, **search):
        return check_experiment(tiny_data(search={**PLAIN, "settings": settings, **search}))

    return make


SPACES = {}


def opened(experiment):
    """The space, opened once for all tests."""
    key = json.dumps({**experiment.shaping, "search": {**experiment.shaping["search"], "sampler": ""}})
    if key not in SPACES:
        SPACES[key] = open_space(experiment)
    return SPACES[key]


@pytest.fixture
def space_of(experiment_of):
    return lambda settings, **search: opened(experiment_of(settings, **search))


def expected_designs():
    """Those of CONDITIONAL, counted in another way."""
    designs = set()
    for neuron, blocks, loss in itertools.product(["lif", "plif"], [2, 3], ["mse", "cross_entropy"]):
        decays = [0.25, 0.5, 0.75] if neuron == "lif" else [None]
        smoothings = [0.0, 0.1] if loss == "cross_entropy" else [None]
        for decay, smoothing in itertools.product(decays, smoothings):
            settings = {"neuron.name": neuron, "backbone.widths": [4] * blocks, "train.loss": loss}
            settings |= {} if decay is None else {"neuron.decay": decay}
            settings |= {} if smoothing is None else {"train.label_smoothing": smoothing}
            settings |= {"backbone.pools": [2, 2]} if blocks == 2 else {}
            for where in itertools.product([False, True], repeat=blocks):
                placement = {f"block{n}.current": "ta" for n, there in enumerate(where, 1) if there}
                designs.add(Design.of({"placement": placement, "settings": settings}))
    return designs


# one setting


@pytest.mark.parametrize(
    ("data", "values"),
    [
        ([1, True, 1.0, "1", None, [1]], (1, True, 1.0, "1", None, [1])),
        ({"low": 1, "high": 4}, (1, 2, 3, 4)),
        ({"low": 2, "high": 8, "step": 3}, (2, 5, 8)),
        ({"low": 0.1, "high": 0.4, "step": 0.1}, (0.1, 0.2, 0.3, 0.4)),
        ({"low": 1, "high": 2, "step": 0.5}, (1.0, 1.5, 2.0)),
        ({"low": 1, "high": 4, "log": True}, (1, 2, 3, 4)),
        ({"low": 0.1, "high": 0.4}, None),
    ],
)
def test_values_of_choices_and_ranges(data, values):
    setting = Setting.model_validate(data)
    assert repr(setting.values) == repr(values)
    assert all(setting.holds(value) for value in values or (0.1, 0.4))
    assert not any(setting.holds(value) for value in (0.05, 9, "x", False))
    assert all(repr(setting.value(setting.param(value))) == repr(value) for value in values or ())


@given(st.floats(0.00123456789, 0.987654321))
def test_a_value_of_a_range_is_short_within_it_and_comes_back(number):
    setting = Setting(low=0.00123456789, high=0.987654321)
    value = setting.value(number)
    assert setting.low <= value <= setting.high
    assert setting.value(setting.param(value)) == value
    assert value == pytest.approx(min(max(number, setting.low), setting.high), rel=1e-5)


NUMBERS = st.integers(-(2**60), 2**60) | st.floats() | st.sampled_from([0, 1, 1.0, 0.1, 1e30, 1e-30, 10**400, True])


@given(low=NUMBERS, high=NUMBERS, step=st.none() | NUMBERS, log=st.booleans())
@example(low=1, high=1.5, step=None, log=False)
@example(low=0.0212345678, high=0.1, step=None, log=True)
@example(low=0.0, high=1.0, step=1e-30, log=False)
@example(low=1e15, high=1e15 + 100, step=0.1, log=False)
@example(low=1, high=10**8, step=None, log=False)
@example(low=0.0, high=0.0, step=10**400, log=False)
def test_any_range_is_one_line_or_has_values_that_optuna_gives_back_as_they_are(low, high, step, log):
    given_range = {"low": low, "high": high, "step": step, "log": log}
    try:
        experiment = check_experiment({"dataset": "digits_dvs", "search": {"settings": {"neuron.decay": given_range}}})
    except QuietspikeError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    setting = experiment.search.settings["neuron.decay"]
    values = setting.values or setting.ends
    assert len(set(values)) == len(values)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for value in (values[0], values[-1], values[len(values) // 2], None):
        if value is not None:
            study.enqueue_trial({"x": setting.param(value)})
        drawn = setting.value(suggest(study.ask(), "x", setting.distribution))
        assert repr(setting.settle(drawn)) == repr(drawn)
        assert setting.holds(drawn)
        assert value is None or repr(drawn) == repr(value)


MISTAKES = [
    ({"nueron.decay": [1]}, "search.settings: nueron.decay: no 'nueron'; did you mean 'neuron'?"),
    ({"train.epoch": [1]}, "search.settings: no 'train.epoch'; did you mean 'train.epochs'?"),
    ({"train.lr": [1]}, "search.settings: no 'train.lr'; did you mean 'train.learning_rate'?"),
    ({"foo.bar": [1]}, "search.settings: foo.bar: no 'foo'; there are: backbone, dataset, neuron, train"),
    ({"neuron": [1]}, "search.settings: neuron: names no option; say neuron.OPTION"),
    ({"neuron.decay": {"choices": [1], "when": {"neuron.name": "lif"}}}, "search.settings.neuron.decay.when: among the settings: no 'neuron.name'; there are: none"),  # noqa: E501
    ({"dataset.name": ["nmnist"]}, "search.settings: dataset.name: designs are compared on one data set"),
    ({"neuron.decay": []}, "search.settings.neuron.decay.choices: list should have at least 1 item"),
    ({"neuron.decay": [0.5, 0.5]}, "search.settings.neuron.decay: choices: 0.5 comes twice"),
    ({"neuron.decay": 0.5}, "search.settings.neuron.decay: "),
    ({"neuron.decay": {"low": 0.5}}, "search.settings.neuron.decay: has low and no high; a setting is given whole: {low: 0.1, high: 0.5}"),  # noqa: E501
    ({"neuron.decay": {"high": 0.5}}, "search.settings.neuron.decay: has high and no low; a setting is given whole: {low: 0.1, high: 0.5}"),  # noqa: E501
    ({"neuron.decay": {"log": True}}, "search.settings.neuron.decay: has neither choices nor low and high"),
    ({"neuron.decay": {"low": 0.5, "high": 0.1}}, "search.settings.neuron.decay: low=0.5: is above high=0.1"),
    ({"neuron.decay": {"low": 0.5, "hihg": 0.1}}, "key: no 'search.settings.neuron.decay.hihg'; did you mean 'search.settings.neuron.decay.high'?"),  # noqa: E501
    ({"neuron.decay": {"low": 0, "high": 1, "log": True}}, "search.settings.neuron.decay: low=0: must be above 0 with log"),  # noqa: E501
    ({"neuron.decay": {"low": 0.1, "high": 1.0, "step": 0.4}}, "search.settings.neuron.decay: high=1.0: is not low=0.1 and a multiple of step=0.4"),  # noqa: E501
    ({"neuron.decay": {"low": 1, "high": 4, "step": 1, "log": True}}, "search.settings.neuron.decay: step=1: does not go with log"),  # noqa: E501
    ({"neuron.decay": {"choices": [1], "low": 1}}, "search.settings.neuron.decay: low: is of a range, and there are choices"),  # noqa: E501
    ({"neuron.decay": {"choices": [1], "when": {"neuron.nam": "lif"}}, "neuron.name": ["lif"]}, "search.settings.neuron.decay.when: among the settings: no 'neuron.nam'; did you mean 'neuron.name'?"),  # noqa: E501
    ({"neuron.decay": {"choices": [1], "when": {"neuron.name": "lfi"}}, "neuron.name": ["lif"]}, "search.settings.neuron.decay.when.neuron.name: no 'lfi'; did you mean 'lif'?"),  # noqa: E501
    ({"neuron.decay": {"choices": [1], "when": {"neuron.threshold": 1}}, "neuron.threshold": {"low": 0.5, "high": 1.5}}, "search.settings: neuron.decay.when: neuron.threshold is a range without a step; only its values can be a condition"),  # noqa: E501
    ({"neuron.decay": {"choices": [1], "when": {"train.loss": "mse"}}, "train.loss": {"choices": ["mse"], "when": {"neuron.decay": 1}}}, "search.settings: neuron.decay, train.loss: the conditions lead in a circle"),  # noqa: E501
    ({"neuron.decay": {"low": "1", "high": 2}}, "search.settings.neuron.decay.low: must be a finite number, not '1'"),
    ({"neuron.decay": {"low": 1.0, "high": 1.00001}}, "search.settings.neuron.decay: low=1.0, high=1.00001: are too close; give choices, or a step"),  # noqa: E501
    ({"train.epochs": {"low": 1, "high": 10**8}}, "search.settings.train.epochs: low=1, high=100000000: are too many values, or too close; give a larger step"),  # noqa: E501
    ({"train.epochs": {"low": 1, "high": 10**30}}, "search.settings.train.epochs: high: is further from 0 than 9,007,199,254,740,992"),  # noqa: E501
    ({"neuron.decay": {"choices": [1], "when": {"neuron.name": []}}, "neuron.name": ["lif"]}, "search.settings.neuron.decay.when.neuron.name: list should have at least 1 item"),  # noqa: E501
]  # fmt: skip


@pytest.mark.parametrize(("settings", "message"), MISTAKES)
def test_a_mistake_is_one_line_that_names_key_value_and_near_match(experiment_of, settings, message):
    with pytest.raises(QuietspikeError) as caught:
        experiment_of(settings)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_grid_wants_a_step(experiment_of):
    with pytest.raises(QuietspikeError, match=r"settings\.neuron\.decay: is a range without a step"):
        experiment_of({"neuron.decay": {"low": 0.1, "high": 0.5}}, sampler="grid")


REFUSED = [
    ({"neuron.decay": [0.5, 1.5]}, {}, "search.settings: neuron.decay=1.5: neurons: lif: "),
    ({"neuron.decay": {"low": 0.5, "high": 1.5}}, {}, "search.settings: neuron.decay=1.5: neurons: lif: "),
    ({"neuron.name": ["lif", "plfi"]}, {}, "search.settings: neuron.name=plfi: neurons: no 'plfi'; did you mean 'plif'?"),  # noqa: E501
    ({"neuron.dekay": [0.5]}, {}, "search.settings: neuron.dekay=0.5: neurons: lif: option: no 'dekay'; did you mean 'decay'?"),  # noqa: E501
    ({"train.epochs": [1, 0]}, {}, "search.settings: train.epochs=0: train: epochs=0: must be a whole number"),
    ({"backbone.widths": [[4, 4, 4], [4, 4]]}, {}, "search.settings: backbone.widths=[4, 4]: backbones: conv3: "),
    ({"dataset.steps": [4, -1]}, {}, "search.settings: dataset.steps=-1: datasets: digits_dvs: "),
    ({"neuron.name": ["lif", "if"], "neuron.decay": [0.5]}, {}, "search.settings: neuron.name=if: neurons: if: option: no 'decay'"),  # noqa: E501
    ({"neuron.name": ["lif", "if"], "neuron.decay": {"choices": [0.5], "when": {"neuron.name": "lif"}}, "train.loss": {"choices": ["mse"], "when": {"neuron.name": "if", "neuron.decay": 0.5}}}, {}, "search.settings.train.loss.when: never holds"),  # noqa: E501
    ({"backbone.norm": [True]}, {"sites": ["block9.current"]}, "search.sites: no 'block9.current'; did you mean"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "search", "message"), REFUSED)
def test_every_choice_is_built_before_the_first_trial(space_of, settings, search, message):
    with pytest.raises(QuietspikeError) as caught:
        space_of(settings, **search)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_networks_too_many_to_look_at_are_refused(space_of, monkeypatch):
    monkeypatch.setattr("quietspike.search.cases.MOST_CASES", 3)
    settings = {f"backbone.{key}": [True, False] for key in ("norm", "fc_norm")}
    with pytest.raises(QuietspikeError, match=r"^search\.settings: backbone\.norm, backbone\.fc_norm: have more"):
        space_of(settings)


# the space


def test_its_size_counts_each_design_once(space_of):
    space = space_of(CONDITIONAL)
    everything = expected_designs()
    shuffled = list(space.shuffled(0, 10_000))
    assert space.size == len(shuffled) == len(everything) == (3 + 1) * (4 + 8) * (1 + 2)
    assert set(shuffled) == everything
    assert space.count == "144 designs"


def test_designs_come_back_from_their_parameters(space_of):
    space = space_of(CONDITIONAL)
    for design in space.shuffled(1, 144):
        params = space.params(design)
        assert space.design(params) == design
        assert params.keys() == space.distributions.keys()


def test_what_does_not_count_is_dropped(space_of):
    space = space_of(CONDITIONAL)
    design = next(d for d in space.shuffled(2, 144) if d.settings["neuron.name"] == "plif" and len(d.placement) == 2)
    params = space.params(design)
    for decay in ("0.25", "0.5", "0.75"):
        assert space.design({**params, "set.neuron.decay": decay}) == design
    assert "neuron.decay" not in design.settings
    two = space.design({**params, "set.backbone.widths": "[4,4]", "block3.current": "ta"})
    assert set(two.placement) <= {"block1.current", "block2.current"}
    assert set(space.labels(two)) == {"block1.current", "block2.current"}


def test_a_range_without_a_step_makes_it_endless(space_of):
    space = space_of({"train.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}})
    assert (space.size, space.count) == (math.inf, "infinitely many designs")
    drawn = list(space.shuffled(0, 400))
    rates = [design.settings["train.learning_rate"] for design in drawn]
    assert len(set(drawn)) == 400
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    below = sum(rate < 1e-3 for rate in rates)  # a third of the orders of magnitude; the deviation is 9.4
    assert abs(below - 400 / 3) < 50
    assert list(space.shuffled(0, 5)) == drawn[:5]


def test_a_condition_on_a_number_holds_however_the_number_is_written(space_of):
    threshold = {"low": 0.5, "high": 1, "step": 0.5}
    space = space_of(
        {"neuron.threshold": threshold, "neuron.decay": {"choices": [0.5], "when": {"neuron.threshold": 1}}}
    )
    found = {tuple(design.settings.items()) for design in space.shuffled(0, 99)}
    assert found == {(("neuron.threshold", 0.5),), (("neuron.decay", 0.5), ("neuron.threshold", 1.0))}


def test_nested_keys_are_the_same(experiment_of):
    dotted = experiment_of({"neuron.decay": [0.25, 0.5], "train.epochs": {"low": 1, "high": 3}})
    nested = experiment_of({"neuron": {"decay": [0.25, 0.5]}, "train": {"epochs": {"low": 1, "high": 3}}})
    assert nested == dotted
    assert check_experiment(dotted.data) == dotted
    given_words = load_experiment(overrides=["--search.settings.neuron.decay", "[0.25, 0.5]"])
    assert given_words.search.settings == {"neuron.decay": Setting(choices=[0.25, 0.5])}


def test_other_settings_are_another_search(experiment_of):
    folders = {
        experiment_of(s).folder for s in ({}, {"neuron.decay": [0.5]}, {"neuron.decay": {"low": 0.5, "high": 1}})
    }
    assert len(folders) == 3


# the study


def fake_outcome(design):
    figures = sum(map(ord, design.json))
    return Outcome(accuracy=figures % 97 / 97, totals={"spikes": 100.0 + figures % 89})


@pytest.fixture
def study_of(experiment_of, tmp_path):
    def make(name, settings=CONDITIONAL, **search):
        (tmp_path / name).mkdir(exist_ok=True)
        experiment = experiment_of(settings, **search)
        return SearchStudy(experiment, opened(experiment), tmp_path / name)

    return make


def claim_all(study):
    claimed = []
    while (claim := study.claim()) is not None:
        claimed.append(claim.design)
        study.finish(claim, fake_outcome(claim.design))
    return claimed


@pytest.mark.parametrize("sampler", ["random", "grid", "tpe", "nsga2", "gp"])
def test_each_sampler_tries_designs_of_the_space_without_repetition(study_of, sampler):
    study = study_of("one", sampler=sampler)
    claimed = claim_all(study)
    assert len(set(claimed)) == len(claimed) == 20
    assert set(claimed) <= expected_designs()
    assert [trial.design for trial in study.results()] == claimed
    assert claim_all(study_of("two", sampler=sampler)) == claimed
    assert {design.placement for design in claimed[:2]} == {start.placement for start in study.space.first()}


@pytest.mark.parametrize(
    ("settings", "first"),
    [
        ({"neuron.threshold": {"low": 1, "high": 1.5}}, 1.0),  # the experiment's own is none of them
        ({"train.learning_rate": {"low": 0.0212345678, "high": 0.1}}, 0.0212346),
        ({"train.learning_rate": {"low": 0.01, "high": 0.09, "step": 0.04}}, 0.01),
        ({"train.weight_decay": {"low": 0, "high": 0.5}}, 0.0),
    ],
)
def test_a_start_is_tried_once_however_its_numbers_are_written(study_of, settings, first):
    claims = []
    study = study_of("one", settings, trials=5)
    for _ in range(5):
        claim = study.claim()
        study.finish(claim, fake_outcome(claim.design))
        claims.append(claim.design)
    assert [repr(value) for design in claims[:2] for value in design.settings.values()] == [repr(first)] * 2
    assert len(study.study.trials) == len(set(claims)) == 5, "nothing was asked for twice"


@pytest.mark.parametrize(
    ("threshold", "started", "own"), [(0.9, 0.9, True), (1, 1.0, True), (0.912345678, 0.912346, False)]
)
def test_the_experiments_own_value_is_found_in_a_range(tiny_data, threshold, started, own):
    settings = {"neuron.threshold": {"low": 0.8, "high": 1.5}}
    space = open_space(
        check_experiment(tiny_data(neuron={"threshold": threshold}, search={**PLAIN, "settings": settings}))
    )
    assert {repr(design.settings["neuron.threshold"]) for design in space.first()} == {repr(started)}
    assert space.own is own


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2", "gp"])
def test_an_interrupted_search_goes_on_to_the_same_designs(study_of, sampler):
    undisturbed = claim_all(study_of("whole", sampler=sampler, trials=14))
    for number in range(14):
        study = study_of("interrupted", sampler=sampler, trials=14)
        if number % 2 == 0:
            study.claim()
            assert study.lose_all() == 1
        claim = study.claim()
        study.finish(claim, fake_outcome(claim.design))
    study = study_of("interrupted", sampler=sampler, trials=14)
    assert study.claim() is None
    assert [trial.design for trial in study.results()] == undisturbed


@pytest.mark.parametrize("sampler", ["random", "grid", "tpe", "nsga2", "gp"])
def test_a_small_space_is_exhausted(study_of, sampler):
    settings = {key: CONDITIONAL[key] for key in ("neuron.name", "neuron.decay")}
    claimed = claim_all(study_of("small", settings, sampler=sampler, trials=99, sites=["block1.current"]))
    assert len(set(claimed)) == len(claimed) == 2 * (3 + 1)


def test_ranges_are_searched_by_every_sampler_that_can(study_of):
    settings = {
        "train.learning_rate": {"low": 1e-4, "high": 0.1, "log": True},
        "train.batch_size": {"low": 8, "high": 32},
    }
    for sampler in ("random", "tpe", "nsga2", "gp"):
        claimed = claim_all(study_of(sampler, settings, sampler=sampler, trials=12))
        values = [design.settings for design in claimed]
        assert all(1e-4 <= v["train.learning_rate"] <= 0.1 and 8 <= v["train.batch_size"] <= 32 for v in values)
        assert all(type(v["train.batch_size"]) is int for v in values)
        assert len({v["train.learning_rate"] for v in values}) > 4


# what is confirmed


def test_uniform_placements_are_tried_with_own_values_where_the_space_has_them(space_of):
    space = space_of({"neuron.decay": [0.25, 0.3], "train.epochs": [1, 2], "train.batch_size": [10, 20]})
    own = {"neuron.decay": 0.3, "train.batch_size": 20, "train.epochs": 1}  # 0.3 is lif's default
    assert [design.settings for design in space.first()] == [own, own]
    assert space.own
    elsewhere = space_of({"train.epochs": [5, 7], "train.batch_size": [10, 20]})
    assert elsewhere.first()[0].settings == {"train.epochs": 5, "train.batch_size": 20}
    assert not elsewhere.own


def test_uniform_placements_are_confirmed_with_the_experiments_own_settings(experiment_of, space_of):
    settings = {"neuron.decay": [0.25, 0.3]}
    experiment, space = experiment_of(settings), space_of(settings)
    none, ta = space.first()
    found = Design(none.placement, {"neuron.decay": 0.25})
    designs = [none, ta, found]
    figures = [(0.9, 9.0), (0.8, 8.0), (0.7, 7.0)]
    trials = [
        TrialResult(n, d, Outcome(a, {"spikes": s})) for n, (d, (a, s)) in enumerate(zip(designs, figures, strict=True))
    ]
    plan = plan_confirmation(experiment, space, trials)
    assert plan.uniform == [Design(none.placement), Design(ta.placement)]
    assert plan.best == [found], "those that are uniform with the experiment's own settings are there already"
    kept = experiment.model_copy(update={"confirm": experiment.confirm.model_copy(update={"uniform": ("none",)})})
    plan = plan_confirmation(kept, space, trials)
    assert plan.best == [found, Design(ta.placement)] or plan.best == [Design(ta.placement), found]
    assert plan.names[Design(ta.placement)] == "ta"


def test_a_found_designs_file_is_read_with_its_settings(experiment_of, tmp_path):
    experiment = experiment_of(CONDITIONAL)
    path = tmp_path / "found.yaml"
    path.write_text("placement: {block2.current: ta}\nsettings: {backbone.widths: [4, 4], backbone.pools: [2, 2]}\n")
    design = read_design(str(path), experiment)
    assert design.apply(experiment).backbone.data["widths"] == [4, 4]
    path.write_text("placement: {block3.current: ta}\nsettings: {backbone.widths: [4, 4], backbone.pools: [2, 2]}\n")
    with pytest.raises(QuietspikeError, match=r"found\.yaml: site: no 'block3\.current'; did you mean"):
        read_design(str(path), experiment)
    path.write_text("placement: {}\nsettings: {search.trials: 5}\n")
    with pytest.raises(QuietspikeError, match=r"found\.yaml: search\.settings: search\.trials: no 'search'"):
        read_design(str(path), experiment)
    path.write_text("placement: {}\nsettings: {neuron.dekay: 0.5}\n")
    with pytest.raises(QuietspikeError, match=r"found\.yaml: neurons: lif: option: no 'dekay'; did you mean 'decay'\?"):
        read_design(str(path), experiment)
