import json
import os
import subprocess
import sys

import pytest

from quietspike.core import (
    ATTENTION,
    BACKBONES,
    DATASETS,
    ENGINES,
    NEURONS,
    QuietspikeError,
    Registry,
    UnknownNameError,
)
from quietspike.core.conv3 import Conv3
from quietspike.core.neurons import LIF, PLIF


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """A function that puts a distribution with plugins of the kind ``toys`` on the path."""

    def install(name, plugins, version="1.0", folder=None):
        place = folder or tmp_path / f"{name}-{version}"
        facts = place / f"{name}-{version}.dist-info"
        facts.mkdir(parents=True)
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = [f"{plugin} = {target}\n" for plugin, target in plugins.items()]
        (facts / "entry_points.txt").write_text("[quietspike.toys]\n" + "".join(lines))
        monkeypatch.syspath_prepend(place)
        return place

    return install


@pytest.fixture
def toys():
    return Registry("toys", "quietspike-toys")


LISTING = """
import json, sys
from quietspike.core import ATTENTION, BACKBONES, DATASETS, ENGINES, NEURONS, Registry
before = set(sys.modules)
for registry in (ATTENTION, BACKBONES, DATASETS, ENGINES, NEURONS, Registry("toys", "none")):
    registry.names()
listed = sorted(set(sys.modules) - before)
plugin = Registry("toys", "none").get("one")
got = sorted(set(sys.modules) - before - set(listed))
print(json.dumps({"listed": listed, "got": got, "plugin": plugin}))
"""


def test_names_import_nothing_and_get_imports_one_plugin(tmp_path, distribution):
    place = distribution("alpha", {"one": "alpha_one:PLUGIN", "two": "alpha_two:PLUGIN"})
    (place / "alpha_one.py").write_text("PLUGIN = 'the first'\n")
    (place / "alpha_two.py").write_text("raise RuntimeError('nobody asked for me')\n")
    path = os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run(
        [sys.executable, "-c", LISTING],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(ran.stdout)
    assert [module for module in result["listed"] if module.startswith(("quietspike", "alpha", "snntorch"))] == []
    assert result["got"] == ["alpha_one"]
    assert result["plugin"] == "the first"


def test_cores_own_plugins_are_found_by_name():
    assert {"lif", "plif", "snntorch_leaky"} <= set(NEURONS.names())
    assert NEURONS.get("lif") is LIF
    assert NEURONS.get("plif") is PLIF
    assert BACKBONES.get("conv3") is Conv3
    assert NEURONS.owner("lif").startswith("quietspike-core ")


@pytest.mark.parametrize(
    ("registry", "kind", "package"),
    [
        (NEURONS, "neurons", "quietspike-core"),
        (BACKBONES, "backbones", "quietspike-core"),
        (ATTENTION, "attention", "quietspike-attention"),
        (DATASETS, "datasets", "quietspike-datasets"),
        (ENGINES, "engines", "quietspike-search"),
    ],
)
def test_with_nothing_installed_the_error_names_the_package(registry, kind, package, monkeypatch):
    monkeypatch.setattr("quietspike.core.registry.entry_points", lambda group: ())
    assert registry.names() == []
    with pytest.raises(UnknownNameError) as caught:
        registry.get("any")
    assert str(caught.value) == f"{kind}: no 'any': none is installed; pip install {package}"


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(LookupError) as caught:
        NEURONS.get("lief")
    assert str(caught.value) == "neurons: no 'lief'; did you mean 'lif'?"
    assert isinstance(caught.value, QuietspikeError)


@pytest.mark.parametrize("name", [1, None, ["lif"]])
def test_what_is_no_text_is_no_name(name, toys):
    toys.register("lif", None)
    with pytest.raises(UnknownNameError) as caught:
        toys.get(name)
    assert str(caught.value) == f"toys: no {name!r}; there are: lif"


def test_a_slip_of_two_letters_is_nearer_than_a_letter_left_out(toys):
    for name in ("tca", "tcja"):
        toys.register(name, None)
    with pytest.raises(UnknownNameError, match=r"^toys: no 'tjca'; did you mean 'tcja'\?$"):
        toys.get("tjca")


def test_a_name_far_from_all_gets_the_list(toys, distribution):
    distribution("alpha", {"one": "a:b", "two": "a:c"})
    with pytest.raises(UnknownNameError, match=r"^toys: no 'zzzz'; there are: one, two$"):
        toys.get("zzzz")


def test_two_distributions_with_one_name_are_both_named(toys, distribution):
    distribution("alpha", {"one": "json:loads"})
    distribution("beta", {"one": "json:dumps", "other": "json:dumps"}, version="2.3")
    assert toys.names() == ["one", "other"]
    assert toys.get("other") is json.dumps
    with pytest.raises(QuietspikeError) as caught:
        toys.get("one")
    assert str(caught.value) == "toys: 'one' is claimed by alpha 1.0 and beta 2.3; uninstall one of them"
    assert toys.owner("one") == "alpha 1.0 and beta 2.3"


def test_a_distribution_seen_twice_counts_once(toys, distribution, tmp_path):
    distribution("alpha", {"one": "json:loads"})
    distribution("alpha", {"one": "json:loads"}, folder=tmp_path / "again")
    assert toys.get("one") is json.loads


def test_a_registered_plugin_goes_before_an_installed_one(toys, distribution):
    distribution("alpha", {"one": "json:loads"})
    toys.register("one", json.dumps)
    toys.register("mine", json.load)
    assert toys.get("one") is json.dumps
    assert toys.names() == ["mine", "one"]
    assert toys.owner("one") == "registered in this process"
    assert Registry("toys", "quietspike-toys").get("one") is json.loads


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("alpha_missing:PLUGIN", "No module named 'alpha_missing'"),
        ("json:missing", "module 'json' has no attribute 'missing'"),
        ("alpha_broken:PLUGIN", "it needs a licence"),
    ],
)
def test_a_plugin_that_cannot_be_imported_names_its_owner(toys, distribution, target, reason, tmp_path, monkeypatch):
    (tmp_path / "alpha_broken.py").write_text('raise RuntimeError("it needs a licence")\n', encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    distribution("alpha", {"one": target})
    with pytest.raises(QuietspikeError) as caught:
        toys.get("one")
    assert str(caught.value) == f"toys: 'one' of alpha 1.0 cannot be imported: {reason}"


def test_a_plugin_installed_later_is_found(toys, distribution):
    assert toys.names() == []
    distribution("alpha", {"one": "json:loads"})
    assert toys.names() == ["one"]
