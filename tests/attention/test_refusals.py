"""What cannot be built, and that it is said in one line that names the site and the option."""

import pytest

from quietspike.attention import (
    ASA,
    MultiDimensionalAttention,
    TemporalChannelJointAttention,
    TemporalWiseAttention,
    ca,
    cbam,
    csa,
    eca,
    none,
    sa,
    se,
    simam,
    ta,
    tca,
    tcsa,
    tsa,
)
from quietspike.attention.joint import NoAttention
from quietspike.core import Choice, OptionError, Placement, Site
from quietspike.core.placement import build_attention

CONVOLUTION = Site("block1.current", "current", steps=4, channels=6, spatial=True)
CONNECTED = Site("fc1.current", "current", steps=4, channels=6, spatial=False)
MEMBRANE = Site("block1.membrane", "membrane", steps=1, channels=6, spatial=True)
INPUT = Site("block1.input", "input", steps=4, channels=2, spatial=True)
PLUGINS = {"ta": ta, "ca": ca, "sa": sa, "tca": tca, "tsa": tsa, "csa": csa, "tcsa": tcsa, "asa": ASA}
PLUGINS |= {"se": se, "eca": eca, "cbam": cbam, "simam": simam}
PLUGINS |= {"ta_snn": TemporalWiseAttention, "tcja": TemporalChannelJointAttention}
TEMPORAL = ["ta", "tca", "tsa", "tcsa", "asa", "ta_snn", "tcja"]


def refusal(site, name, **options):
    with pytest.raises(OptionError) as caught:
        Placement({site.name: {"name": name, **options}})(site)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", sorted(PLUGINS.keys() - {"ta", "ta_snn"}))
def test_fully_connected_layers_take_temporal_attention_alone(name):
    message = f"{name} needs space; fully connected layers take ta or ta_snn"
    with pytest.raises(ValueError, match=f"^{message}$"):
        PLUGINS[name](CONNECTED)
    assert refusal(CONNECTED, name) == f"fc1.current: {name}: {message}"


@pytest.mark.parametrize("name", TEMPORAL)
def test_a_membrane_takes_nothing_temporal(name):
    message = f"{name} needs more than one step; a membrane site shows one at a time"
    with pytest.raises(ValueError, match=f"^{message}$"):
        PLUGINS[name](MEMBRANE)
    assert refusal(MEMBRANE, name) == f"block1.membrane: {name}: {message}"


@pytest.mark.parametrize("name", sorted(PLUGINS))
def test_all_other_places_are_allowed(name):
    for site in (CONVOLUTION, INPUT) if name in TEMPORAL else (CONVOLUTION, INPUT, MEMBRANE):
        PLUGINS[name](site)


def test_ta_stands_at_a_fully_connected_layer_and_none_anywhere():
    assert isinstance(ta(CONNECTED), MultiDimensionalAttention)
    assert all(isinstance(none(site), NoAttention) for site in (CONVOLUTION, CONNECTED, MEMBRANE, INPUT))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sa", {"kernel": 4}, "sa(kernel=4): kernel=4: must be an odd number of at least 1"),
        ("tcsa", {"kernel": 0}, "tcsa(kernel=0): kernel=0: must be an odd number of at least 1"),
        ("csa", {"kernel": -3}, "csa(kernel=-3): kernel=-3: must be an odd number of at least 1"),
        ("asa", {"kernel": 2}, "asa(kernel=2): kernel=2: must be an odd number of at least 1"),
        ("tsa", {"kernel": 3.0}, "tsa(kernel=3.0): kernel=3.0: must be an odd number of at least 1"),
        (
            "ta",
            {"temporal_reduction": 0},
            "ta(temporal_reduction=0): temporal_reduction=0: must be a whole number of at least 1",
        ),
        (
            "ca",
            {"channel_reduction": -8},
            "ca(channel_reduction=-8): channel_reduction=-8: must be a whole number of at least 1",
        ),
        (
            "ca",
            {"channel_reduction": True},
            "ca(channel_reduction=True): channel_reduction=True: must be a whole number of at least 1",
        ),
        ("asa", {"reduction": 1.5}, "asa(reduction=1.5): reduction=1.5: must be a whole number of at least 1"),
        (
            "ta",
            {"temporal_reduction": None},
            "ta(temporal_reduction=None): temporal_reduction=None: must be a whole number of at least 1",
        ),
        ("asa", {"important": 1.5}, "asa(important=1.5): important=1.5: must be a finite number from 0 to 1"),
        ("asa", {"important": "0.5"}, "asa(important=0.5): important='0.5': must be a finite number from 0 to 1"),
        (
            "asa",
            {"trainable_selection": "False"},
            "asa(trainable_selection=False): trainable_selection='False': must be true or false",
        ),
        (
            "se",
            {"channel_reduction": 0},
            "se(channel_reduction=0): channel_reduction=0: must be a whole number of at least 1",
        ),
        ("se", {"per_step": 0}, "se(per_step=0): per_step=0: must be true or false"),
        ("eca", {"kernel": 4}, "eca(kernel=4): kernel=4: must be an odd number of at least 1"),
        ("eca", {"per_step": "no"}, "eca(per_step=no): per_step='no': must be true or false"),
        ("cbam", {"kernel": 2}, "cbam(kernel=2): kernel=2: must be an odd number of at least 1"),
        ("cbam", {"spatial": "yes"}, "cbam(spatial=yes): spatial='yes': must be true or false"),
        ("simam", {"regularizer": 0}, "simam(regularizer=0): regularizer=0: must be a positive number"),
        ("simam", {"per_step": None}, "simam(per_step=None): per_step=None: must be true or false"),
        ("ca", {"per_step": 1}, "ca(per_step=1): per_step=1: must be true or false"),
        ("sa", {"per_step": "no"}, "sa(per_step=no): per_step='no': must be true or false"),
        ("ta", {"relu": None}, "ta(relu=None): relu=None: must be true or false"),
    ],
)
def test_a_value_out_of_range(name, options, message):
    assert refusal(CONVOLUTION, name, **options) == f"block1.current: {message}"


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("ta", "channel_reduction"),
        ("ta", "kernel"),
        ("ta", "per_step"),
        ("ca", "temporal_reduction"),
        ("ca", "kernel"),
        ("sa", "channel_reduction"),
        ("tca", "kernel"),
        ("tsa", "channel_reduction"),
        ("csa", "temporal_reduction"),
        ("asa", "temporal_reduction"),
        ("none", "kernel"),
        ("se", "kernel"),
        ("eca", "channel_reduction"),
        ("simam", "kernel"),
        ("ta_snn", "relu"),
        ("tcja", "kernel"),
    ],
)
def test_a_variant_takes_no_option_of_another(name, option):
    with pytest.raises(OptionError, match=rf"^block1.current: {name}: option: no '{option}'") as caught:
        build_attention(Choice.of({"name": name, option: 3}), CONVOLUTION)
    assert "\n" not in str(caught.value)


def test_a_share_that_is_no_number():
    with pytest.raises(ValueError, match=r"^important=nan: must be a finite number from 0 to 1$"):
        ASA(CONVOLUTION, important=float("nan"))


def test_no_gate_is_no_attention():
    with pytest.raises(ValueError, match="at least one gate"):
        MultiDimensionalAttention(None, None, None, relu=True)
