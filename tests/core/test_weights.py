import os
import pickle
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from quietspike.core import CheckpointError
from quietspike.core.weights import load_tensors, load_weights, save_tensors, save_weights, write_whole

TENSORS = {
    "float": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
    "half": torch.ones(2, dtype=torch.bfloat16),
    "count": torch.tensor(7),
    "empty": torch.zeros(0),
    "turned": torch.arange(6.0).reshape(2, 3).T,
    "flags": torch.tensor([True, False]),
}
RECORD = {"seed": 3, "rows": [{"loss": 0.1}], "name": "größer"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "whole.safetensors"
    save_tensors(path, TENSORS, RECORD)
    return path


class Spy:
    """Unpickled, it leaves a file."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_tensors_and_record_come_back(whole):
    tensors, record = load_tensors(whole)
    assert record == RECORD
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_tensors_that_share_memory_can_be_saved(tmp_path):
    tied = nn.Linear(3, 3)
    network = nn.Sequential(tied, tied)
    save_weights(tmp_path / "w", network, {})
    tensors, _ = load_tensors(tmp_path / "w")
    assert set(tensors) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    load_weights(network, tensors, "w")


def test_what_was_loaded_does_not_hang_on_the_file(tmp_path):
    path = tmp_path / "w"
    save_tensors(path, TENSORS, {})
    tensors, _ = load_tensors(path)
    save_tensors(path, {"other": torch.zeros(1000)}, {})
    assert torch.equal(tensors["float"], TENSORS["float"])


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        load_tensors(tmp_path / "none")
    assert str(caught.value) == f"{tmp_path / 'none'}: no such file"


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_tensors(tmp_path)


@settings(max_examples=60)
@given(data=st.data())
def test_a_truncated_file_is_refused(whole, tmp_path_factory, data):
    content = whole.read_bytes()
    path = tmp_path_factory.mktemp("cut") / "w"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(CheckpointError) as caught:
        load_tensors(path)
    assert str(caught.value).startswith(f"{path}: not a whole safetensors file (")
    assert "\n" not in str(caught.value)


@settings(max_examples=300)
@given(data=st.data())
def test_a_damaged_byte_gives_a_checkpoint_error_or_changes_nothing(whole, tmp_path_factory, data):
    content = bytearray(whole.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "w"
    path.write_bytes(content)
    try:
        tensors, record = load_tensors(path)
    except CheckpointError as error:
        assert "\n" not in str(error)  # noqa: PT017 (all but some bytes of the header)
    else:
        assert record == RECORD
        assert tensors.keys() == TENSORS.keys()
        assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


@given(st.binary(max_size=64))
def test_other_files_are_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("other") / "w"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        load_tensors(path)


@pytest.mark.parametrize("dump", [pickle.dumps, None])
def test_a_pickle_is_not_unpickled(tmp_path, dump):
    path, trace = tmp_path / "w", tmp_path / "trace"
    if dump is None:
        torch.save(Spy(trace), path)
    else:
        path.write_bytes(dump(Spy(trace)))
    with pytest.raises(CheckpointError):
        load_tensors(path)
    assert not trace.exists()


@pytest.mark.parametrize("record", ["[1, 2]", "3", "{", "null"])
def test_a_record_that_is_no_mapping_is_refused(tmp_path, record):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "w", metadata={"record": record})
    with pytest.raises(CheckpointError):
        load_tensors(tmp_path / "w")


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file"
    write_whole(path, b"first")
    assert path.read_bytes() == b"first"

    def fail(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        write_whole(path, b"second")
    monkeypatch.undo()
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        write_whole(path, b"second")
    assert path.read_bytes() == b"first"
    assert os.listdir(path.parent) == ["file"]


def test_weights_go_into_an_equal_network(tmp_path):
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    save_weights(tmp_path / "w", source, {"a": 1})
    tensors, record = load_tensors(tmp_path / "w")
    load_weights(target, tensors, "w")
    assert torch.equal(source.weight, target.weight)
    assert record == {"a": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weigth": torch.zeros(1)}, "file: weights: no 'weigth'; did you mean 'weight'?"),
        ({"weight": torch.zeros(3, 2)}, "file: weight has shape (3, 2), not (2, 3)"),
        ({"weight": None}, "file: weights: 'weight' is missing, and 0 more"),
        ({"weight": None, "bias": None}, "file: weights: 'weight' is missing, and 1 more"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(change, message):
    network = nn.Linear(3, 2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    given = {"weight": torch.ones(2, 3), "bias": torch.ones(2), **change}
    with pytest.raises(CheckpointError) as caught:
        load_weights(network, {name: tensor for name, tensor in given.items() if tensor is not None}, "file")
    assert str(caught.value) == message
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
