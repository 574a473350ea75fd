import pytest

from quietspike.core import OptionError
from quietspike.search.reading import override, parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("seed: 1\nname: x\nseed: 2\n", 3, "seed"),
        ("train:\n  epochs: 5\n  epochs: 6\n", 3, "epochs"),
        ("search: {sites: [a], sites: [b]}", 1, "sites"),
        ('- {a: 1}\n- {"b": 1,\n   b: 2}', 3, "b"),
        ("1: a\n1: b\n", 2, "1"),
    ],
)
def test_a_key_that_comes_twice_is_refused_with_its_line(tmp_path, text, line, key):
    path = tmp_path / "twice.yaml"
    path.write_text(text)
    with pytest.raises(OptionError) as refused:
        read_yaml(path)
    assert str(refused.value) == f"{path}: line {line}: no YAML: the key '{key}' comes twice"


def test_a_key_may_come_again_elsewhere_and_over_a_merged_one():
    text = "inner: {mid: &mid {<<: &base {x: 1, y: 1}, x: 2}}\ntop: {<<: *mid, y: 3}\nagain: *base\n"
    assert parse_yaml(text) == {
        "inner": {"mid": {"x": 2, "y": 1}},
        "top": {"x": 2, "y": 3},
        "again": {"x": 1, "y": 1},
    }


GIVEN = {"dataset": {"name": "digits_dvs", "steps": 3}}


@pytest.mark.parametrize(
    ("words", "dataset"),
    [
        (["--dataset", "digits_dvs"], {"name": "digits_dvs", "steps": 3}),
        (["--dataset.name", "digits_dvs"], {"name": "digits_dvs", "steps": 3}),
        (["--dataset", "digits_dvs", "--dataset.size", "9"], {"name": "digits_dvs", "steps": 3, "size": 9}),
        (["--dataset", "nmnist"], "nmnist"),
        (["--dataset", "{name: digits_dvs}"], {"name": "digits_dvs"}),
    ],
)
def test_the_same_name_keeps_the_options_and_another_drops_them(words, dataset):
    assert override(GIVEN, words) == {"dataset": dataset}
    assert GIVEN == {"dataset": {"name": "digits_dvs", "steps": 3}}
