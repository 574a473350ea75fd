import dataclasses
import json
import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from quietspike.core import Choice, OptionError
from quietspike.core.choice import check_options

names = st.text("abcdefgh_", min_size=1, max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
options = st.dictionaries(names.filter(lambda key: key != "name"), scalars, max_size=4)


@given(name=names, options=options)
def test_plain_data_makes_the_same_choice_again(name, options):
    choice = Choice.of({"name": name, **options})
    assert Choice.of(choice.data) == choice
    assert Choice.of(json.loads(json.dumps(choice.data))) == choice
    assert hash(Choice.of(choice.data)) == hash(choice)
    assert Choice.of(choice) is choice


@given(name=names, options=options)
def test_the_order_of_options_does_not_matter(name, options):
    turned = dict(reversed(options.items()))
    assert Choice.of({"name": name, **options}) == Choice.of({**turned, "name": name})


@pytest.mark.parametrize(
    ("value", "label", "data"),
    [
        ("ta", "ta", "ta"),
        ({"name": "ta"}, "ta", "ta"),
        (
            {"name": "ca", "kernel": 7, "alpha": 0.5},
            "ca(alpha=0.5, kernel=7)",
            {"name": "ca", "alpha": 0.5, "kernel": 7},
        ),
        ({"name": "ca", "relu": False}, "ca(relu=False)", {"name": "ca", "relu": False}),
    ],
)
def test_labels_and_data(value, label, data):
    choice = Choice.of(value)
    assert choice.label == label
    assert choice.data == data


@pytest.mark.parametrize("value", [None, 3, ["ta"], {"kernel": 3}, {"name": 3}, {}])
def test_what_is_no_choice_is_refused(value):
    with pytest.raises(OptionError) as caught:
        Choice.of(value)
    assert str(caught.value) == f"expected a name or a mapping with a name, not {value!r}"


@pytest.mark.parametrize("option", [[1], {"a": 1}, (1,), math.nan, math.inf, -math.inf, object])
def test_an_option_that_json_cannot_hold_is_refused(option):
    with pytest.raises(OptionError, match=r"^ca: kernel=.* is no finite number, text, true, false or null$"):
        Choice.of({"name": "ca", "kernel": option})


def test_a_choice_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Choice("ta").name = "ca"


def keyword_only(site, *, kernel=3, reduction=8):
    return kernel, reduction


def positional(site, kernel=3, reduction=8):
    return kernel, reduction


def everything(site, **options):
    return options


class Written:
    def __init__(self, site, *, kernel=3, reduction=8):
        pass


@pytest.mark.parametrize("plugin", [keyword_only, positional, everything, Written])
def test_options_that_a_plugin_takes_pass(plugin):
    check_options("block1.current: mine", plugin, {"kernel": 5, "reduction": 2})


@pytest.mark.parametrize("plugin", [keyword_only, positional, Written])
@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("kernal", "did you mean 'kernel'?"),
        ("xyz", "there are: kernel, reduction"),
        ("site", "there are: kernel, reduction"),
    ],
)
def test_an_option_that_it_does_not_take_gets_the_nearest(plugin, option, hint):
    with pytest.raises(OptionError) as caught:
        check_options("block1.current: mine", plugin, {option: 1})
    assert str(caught.value) == f"block1.current: mine: option: no {option!r}; {hint}"


def test_an_argument_without_a_keyword_is_no_option():
    with pytest.raises(OptionError, match=r"^mine: option: no 'x'; there are: none$"):
        check_options("mine", lambda x, /: x, {"x": 1})
