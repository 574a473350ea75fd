"""CSV files: what is in them, and what writing them needs."""

import csv
import tracemalloc

import pytest

from quietspike.search.tables import write_csv


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_column_is_there_if_one_row_has_it(tmp_path):
    write_csv(tmp_path / "t.csv", iter([{"a": 1}, {"b": "ä, 2", "a": 3}]))
    assert (tmp_path / "t.csv").read_bytes() == 'a,b\n1,\n3,"ä, 2"\n'.encode()


def test_named_columns_are_there_without_a_row(tmp_path):
    write_csv(tmp_path / "t.csv", [], ("a", "b"))
    assert (tmp_path / "t.csv").read_text() == "a,b\n"
    write_csv(tmp_path / "t.csv", [])
    assert (tmp_path / "t.csv").read_text() == ""


def test_a_row_with_another_column_or_a_failure_leaves_the_file_as_it_was(tmp_path):
    write_csv(tmp_path / "t.csv", [{"a": 1}], ("a", "b"))
    with pytest.raises(ValueError, match="'c'"):
        write_csv(tmp_path / "t.csv", [{"a": 2}, {"c": 3}], ("a", "b"))
    assert read(tmp_path / "t.csv") == [{"a": "1", "b": ""}]
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_rows_are_not_kept(tmp_path):
    rows = ({"layer": "block1.neuron", "channel": index, "rate": index / 7} for index in range(20_000))
    tracemalloc.start()
    write_csv(tmp_path / "t.csv", rows, ("layer", "channel", "rate"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * (tmp_path / "t.csv").stat().st_size
    assert len(read(tmp_path / "t.csv")) == 20_000
