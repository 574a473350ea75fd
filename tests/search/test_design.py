"""A design: a placement and settings, as data, as a name, and in an experiment."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quietspike.core import Placement, QuietspikeError
from quietspike.search.config import check_experiment
from quietspike.search.design import Design

PLACEMENT = Placement({"block1.current": {"name": "ca", "channel_reduction": 4}})

SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
SETTINGS = st.dictionaries(st.text(min_size=1), SCALARS | st.lists(SCALARS, max_size=3), max_size=4)


def test_without_settings_it_is_its_placement_in_every_form():
    design = Design(PLACEMENT)
    same = [design.json, design.data, design.digest, design.label, design.settings]
    assert same == [PLACEMENT.json, PLACEMENT.data, PLACEMENT.digest, PLACEMENT.label, {}]
    assert Design(PLACEMENT, {}) == design == Design.of(PLACEMENT.data)


@given(settings=SETTINGS)
def test_it_comes_back_from_its_data_and_its_text(settings):
    design = Design(PLACEMENT, settings)
    assert Design.of(design.data) == Design.from_json(design.json) == design
    assert design.settings == settings
    assert design.placement == PLACEMENT


@given(settings=SETTINGS)
def test_the_order_of_settings_does_not_count(settings):
    backwards = dict(reversed(settings.items()))
    one, other = Design(PLACEMENT, settings), Design(PLACEMENT, backwards)
    assert one == other
    assert len({one, other}) == 1
    assert (one.digest, one.label) == (other.digest, other.label)


def test_other_settings_are_another_design():
    designs = {Design(PLACEMENT, {"neuron.decay": value}) for value in (0.5, 0.25, "0.5", None)} | {Design(PLACEMENT)}
    assert len({design.digest for design in designs}) == len(designs) == 5


def test_it_cannot_be_changed():
    design = Design(PLACEMENT, {"neuron.decay": 0.5})
    design.settings["neuron.decay"] = 0.75
    assert design.settings == {"neuron.decay": 0.5}
    with pytest.raises(AttributeError):
        design.placement = Placement()


def test_a_placement_may_stand_under_its_key_alone():
    assert Design.of({"placement": PLACEMENT.data}) == Design(PLACEMENT)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"settings": []}, "settings: must be a mapping from keys such as neuron.decay, not []"),
        (
            {"settings": {1: 2, "a": 3}},
            "settings: must be a mapping from keys such as neuron.decay, not {1: 2, 'a': 3}",
        ),
        ({"settings": {"neuron.decay": float("nan")}}, "settings: Out of range float values are not JSON compliant"),
        ({"settings": {}, "placment": {}}, "design: no 'placment'; did you mean 'placement'?"),
        ({"placement": {}, "setings": {}}, "design: no 'setings'; did you mean 'settings'?"),
        ({"settings": {}, "placement": 3}, "placement: must be a mapping from sites to attention, not 3"),
    ],
)
def test_what_is_no_design(data, message):
    with pytest.raises(QuietspikeError) as caught:
        Design.of(data)
    assert str(caught.value).startswith(message)


def test_settings_replace_an_experiments_values(tiny_data):
    experiment = check_experiment(tiny_data())
    changed = Design(PLACEMENT, {"neuron.decay": 0.75, "train.epochs": 3, "backbone.widths": [4, 8, 8]}).apply(
        experiment
    )
    assert changed.neuron.data == {"name": "lif", "decay": 0.75}
    assert (changed.train.epochs, changed.backbone.data["widths"]) == (3, [4, 8, 8])
    assert changed.search == experiment.search
    assert Design(PLACEMENT).apply(experiment) is experiment


def test_another_plugin_drops_the_options_of_the_first(tiny_data):
    experiment = check_experiment(tiny_data(neuron={"name": "lif", "decay": 0.75}))
    changed = Design(PLACEMENT, {"neuron.name": "plif", "neuron.threshold": 0.5}).apply(experiment)
    assert changed.neuron.data == {"name": "plif", "threshold": 0.5}


def test_an_unknown_key_is_refused(tiny_data):
    with pytest.raises(QuietspikeError, match=r"no 'train\.epoch'; did you mean 'train\.epochs'\?"):
        Design(PLACEMENT, {"train.epoch": 3}).apply(check_experiment(tiny_data()))
