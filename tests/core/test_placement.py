import json
import random
from collections.abc import Mapping

import hypothesis.strategies as st
import pytest
import torch
import yaml
from hypothesis import given
from torch import nn

from quietspike.core import ATTENTION, Choice, OptionError, Placement, Site, UnknownNameError, list_sites
from quietspike.core.conv3 import Conv3
from quietspike.core.errors import PluginError
from quietspike.core.placement import fit_to_site

SITES = list_sites(Conv3)
SPATIAL = Site("block1.current", "current", steps=4, channels=8, spatial=True)
CONNECTED = Site("fc1.current", "current", steps=4, channels=8, spatial=False)

words = st.text("abcdefgh_.0", min_size=1, max_size=8)
printable = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=["Cc"]), max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | printable
choices = st.builds(
    lambda name, options: {"name": name, **options},
    words,
    st.dictionaries(words.filter(lambda key: key != "name"), scalars, max_size=3),
)
placements = st.dictionaries(words, choices | words, max_size=5).map(Placement)


@given(placements)
def test_it_comes_back_from_json_and_yaml(placement):
    for again in (
        Placement(placement.data),
        Placement(json.loads(placement.json)),
        Placement.from_json(placement.json),
        Placement(yaml.safe_load(yaml.safe_dump(placement.data))),
    ):
        assert again == placement
        assert hash(again) == hash(placement)
        assert again.json == placement.json
        assert again.digest == placement.digest
        assert again.label == placement.label


@given(st.dictionaries(words, choices, max_size=5), st.randoms())
def test_the_order_in_which_it_is_written_does_not_matter(chosen, shuffle):
    def shuffled(mapping):
        items = list(mapping.items())
        shuffle.shuffle(items)
        return dict(items)

    turned = Placement(shuffled({site: shuffled(choice) for site, choice in chosen.items()}))
    assert turned == Placement(chosen)
    assert turned.json == Placement(chosen).json
    assert list(turned) == sorted(turned)


@given(placements, placements)
def test_equal_placements_are_those_of_equal_text(one, other):
    assert (one == other) == (one.json == other.json)


def test_numbers_that_python_takes_for_equal_are_told_apart():
    whole, real, true = (Placement({"a": {"name": "ca", "k": value}}) for value in (1, 1.0, True))
    assert len({whole, real, true}) == 3
    assert len({whole.digest, real.digest, true.digest}) == 3


def test_none_is_left_out():
    placement = Placement({"a": "none", "b": {"name": "none"}, "c": "ta"})
    assert placement == Placement({"c": "ta"})
    assert dict(placement) == {"c": Choice("ta")}
    assert Placement({"a": "none"}) == Placement() == Placement({})


def test_it_is_a_mapping_that_nobody_changes():
    written = {"a": {"name": "ca", "k": 1}}
    placement = Placement(written)
    written["a"]["k"] = 2
    written["b"] = "ta"
    placement.data["b"] = "ta"
    assert isinstance(placement, Mapping)
    assert placement.json == '{"a":{"k":1,"name":"ca"}}'
    with pytest.raises(TypeError):
        placement["b"] = "ta"
    assert placement != {"a": Choice("ca", (("k", 1),))}


@pytest.mark.parametrize(
    ("chosen", "label"),
    [
        ({}, "none"),
        ({"block3.current": {"name": "ca", "kernel": 7}, "block1.current": "ta"}, "block1 ta · block3 ca(kernel=7)"),
        ({"block1.input": "sa", "block1.membrane": "ca"}, "block1.input sa · block1.membrane ca"),
    ],
)
def test_labels(chosen, label):
    assert Placement(chosen).label == label


def test_the_digest_is_short_and_of_the_canonical_form():
    digest = Placement({"a": "ta"}).digest
    assert len(digest) == 10
    assert int(digest, 16) >= 0
    assert digest != Placement({"b": "ta"}).digest


def test_what_is_no_choice_is_refused():
    with pytest.raises(OptionError, match=r"^block1.current: expected a name or a mapping with a name, not 3$"):
        Placement({"block1.current": 3})


@pytest.mark.parametrize("choices", [["ta"], "ta", {1: "ta", "a": "ta"}])
def test_what_is_no_mapping_from_sites_is_refused(choices):
    with pytest.raises(OptionError, match=r"^placement: must be a mapping from sites to attention, not "):
        Placement(choices)


def test_text_that_is_no_placement_is_refused():
    with pytest.raises(OptionError, match=r"^placement: no JSON: "):
        Placement.from_json("{")
    with pytest.raises(OptionError, match=r"^placement: must be a mapping"):
        Placement.from_json("[1]")


def test_a_site_that_there_is_not_gets_the_nearest():
    Placement({"block1.current": "ta"}).check(SITES)
    with pytest.raises(UnknownNameError) as caught:
        Placement({"block1.curent": "ta"}).check(SITES)
    assert str(caught.value) == "site: no 'block1.curent'; did you mean 'block1.current'?"


class Toy(nn.Module):
    def __init__(self, site, *, kernel=3):
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, not {kernel}")
        if not site.spatial:
            raise OptionError("a sentence of its own")
        self.site, self.kernel = site, kernel


class TestBuilding:
    @pytest.fixture(autouse=True)
    def _toy(self, register):
        register(ATTENTION, "toy", Toy)

    def test_it_builds_what_stands_at_a_site(self):
        placement = Placement({"block1.current": {"name": "toy", "kernel": 5}})
        module = placement(SPATIAL)
        assert isinstance(module, Toy)
        assert (module.site, module.kernel) == (SPATIAL, 5)
        assert type(placement(CONNECTED)) is nn.Identity
        assert placement(SPATIAL) is not module

    @pytest.mark.parametrize(
        ("site", "choice", "message"),
        [
            (SPATIAL, {"name": "toy", "kernel": 4}, "block1.current: toy(kernel=4): kernel must be odd, not 4"),
            (SPATIAL, {"name": "toy", "kernal": 4}, "block1.current: toy: option: no 'kernal'; did you mean 'kernel'?"),
            (CONNECTED, "toy", "fc1.current: toy: a sentence of its own"),
        ],
    )
    def test_an_option_error_names_site_choice_and_reason(self, site, choice, message):
        with pytest.raises(OptionError) as caught:
            Placement({site.name: choice})(site)
        assert str(caught.value) == message

    def test_a_type_that_does_not_fit_is_an_option_error(self):
        with pytest.raises(OptionError, match=r"^block1\.current: toy\(kernel=three\): "):
            Placement({"block1.current": {"name": "toy", "kernel": "three"}})(SPATIAL)

    def test_an_attention_that_is_not_installed_gets_the_nearest(self):
        with pytest.raises(UnknownNameError, match=r"^attention: no 'toyy'; did you mean 'toy'\?$"):
            Placement({"block1.current": "toyy"})(SPATIAL)

    def test_a_backbone_builds_it(self):
        network = Conv3(steps=4, attention=Placement({"block2.current": "toy"}))
        assert network.block2.current.module.site.channels == 128
        assert [type(network.get_submodule(name).current.module) for name in ("block1", "fc1")] == [nn.Identity] * 2


class TestUniform:
    @pytest.fixture(autouse=True)
    def _toys(self, register):
        def ta(site, *, temporal_reduction=5, relu=True):
            return nn.Identity()

        def with_time(site, *, temporal_reduction=5, kernel=3, relu=True):
            if not site.spatial:
                raise ValueError("with_time needs space")
            return nn.Identity()

        def time_alone(site, *, temporal_reduction=5, bias=True):
            return nn.Identity()

        def without_time(site, *, kernel=3, relu=True):
            return nn.Identity()

        for plugin in (ta, with_time, time_alone, without_time):
            register(ATTENTION, plugin.__name__, plugin)

    def test_with_time_fully_connected_layers_get_ta_and_the_options_that_it_shares(self):
        chosen = {"name": "with_time", "temporal_reduction": 2, "kernel": 7, "relu": False}
        connected = {"name": "ta", "temporal_reduction": 2, "relu": False}
        assert Placement.uniform(chosen, SITES) == Placement(
            {f"block{n}.current": chosen for n in (1, 2, 3)} | {f"fc{n}.current": connected for n in (1, 2)}
        )

    def test_what_can_stand_there_itself_does(self):
        chosen = {"name": "time_alone", "bias": False}
        assert Placement.uniform(chosen, SITES) == Placement(
            dict.fromkeys([*(f"block{n}.current" for n in (1, 2, 3)), "fc1.current", "fc2.current"], chosen)
        )

    def test_without_time_they_get_nothing(self):
        assert set(Placement.uniform("without_time", SITES)) == {f"block{n}.current" for n in (1, 2, 3)}

    def test_none_is_the_empty_placement_even_with_nothing_installed(self, monkeypatch):
        monkeypatch.setattr("quietspike.core.registry.entry_points", lambda group: ())
        assert Placement.uniform("none", SITES) == Placement()

    def test_a_choice_is_fitted_to_one_site(self):
        chosen = Choice.of({"name": "with_time", "kernel": 5})
        assert fit_to_site(chosen, SPATIAL) is chosen
        assert fit_to_site(chosen, CONNECTED) == Choice("ta")
        assert fit_to_site(Choice("without_time"), CONNECTED) == Choice("none")

    def test_without_ta_installed_its_temporal_part_is_none(self, monkeypatch):
        monkeypatch.setattr("quietspike.core.placement.ATTENTION.names", lambda: ["with_time"])
        assert fit_to_site(Choice("with_time"), CONNECTED) == Choice("none")

    @pytest.mark.parametrize("name", ["ta", "with_time", "without_time"])
    def test_an_option_that_it_does_not_take_is_not_dropped(self, name):
        with pytest.raises(PluginError, match=rf"^fc1\.current: {name}: option: no 'rellu'; did you mean 'relu'\?$"):
            fit_to_site(Choice.of({"name": name, "rellu": False}), CONNECTED)

    def test_what_asks_torch_for_a_value_while_it_is_built_is_one_line(self, register):
        register(ATTENTION, "asks", lambda site: nn.Threshold(float(torch.ones(1).sum()), 0.0))
        with torch.device("meta"), pytest.raises(PluginError, match=r"^block1\.current: asks: "):
            Placement({"block1.current": "asks"})(SPATIAL)


@pytest.mark.parametrize("variant", ["ta", "ca", "sa", "tca", "tsa", "csa", "tcsa"])
def test_the_variants_of_ma_snn_stand_where_its_code_puts_them(variant):
    convolutions = {f"block{n}.current": variant for n in (1, 2, 3)}
    connected = {f"fc{n}.current": "ta" for n in (1, 2)} if "t" in variant else {}
    assert Placement.uniform(variant, SITES) == Placement(convolutions | connected)


def test_sites_are_listed_without_allocating_or_drawing_a_number():
    built = []

    def huge(*, attention, neuron=None):
        built.append(Conv3(attention=attention, neuron=neuron, hidden=(10**9, 10**9)))
        return built[0]

    torch_state, python_state = torch.get_rng_state(), random.getstate()
    assert len(list_sites(huge)) == 15
    assert all(tensor.is_meta for tensor in [*built[0].parameters(), *built[0].buffers()])
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert random.getstate() == python_state


@pytest.mark.parametrize("options", [{}, {"steps": 3, "classes": 4}, {"hidden": (), "widths": (3, 4, 5)}])
def test_listed_sites_are_those_of_a_real_build(options):
    asked = []

    def record(site):
        asked.append(site)
        return nn.Identity()

    Conv3(attention=record, **options)
    assert list_sites(Conv3, **options) == asked
