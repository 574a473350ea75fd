import json

import pytest

from quietspike.core import DataError
from quietspike.datasets.cache import cache_folder, clear_entries, entry_folder, entry_text, list_entries


def write_entry(key, size=0):
    folder = entry_folder(key)
    folder.mkdir(parents=True)
    (folder / "key.json").write_text(entry_text(key))
    (folder / "00000.rows").write_bytes(bytes(size))
    (cache_folder() / f"{folder.name}.lock").touch()
    return folder


def test_where_the_cache_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("QUIETSPIKE_CACHE", "~/there")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "there"
    monkeypatch.delenv("QUIETSPIKE_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "quietspike"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == tmp_path / ".cache" / "quietspike"


@pytest.mark.parametrize(
    ("name", "readable"), [("nmnist", "nmnist"), ("my set", "my-set"), ("../../up", "-..-up"), (".hidden", "hidden")]
)
def test_an_entrys_folder_lies_in_the_cache_under_a_readable_name(cache, name, readable):
    folder = entry_folder({"name": name})
    assert folder.parent == cache
    assert folder.name[:-17] == readable
    assert len({entry_folder({"name": name, "steps": steps}) for steps in (1, 1, 2)}) == 2


def test_the_order_of_keys_is_no_part_of_a_key():
    assert entry_text({"b": 1, "a": (2, 3)}) == entry_text({"a": [2, 3], "b": 1})
    assert json.loads(entry_text({"a": 1}))["a"] == 1
    with pytest.raises(ValueError, match="not JSON compliant"):
        entry_text({"a": float("nan")})


def test_what_there_is(cache):
    assert list_entries() == []
    first, second = write_entry({"name": "one", "steps": 4}, 1000), write_entry({"name": "two"})
    (cache / "a-folder-of-something-else").mkdir()
    (second / "key.json").write_text("damaged")
    one, two = list_entries()
    assert (one.folder, two.folder) == (first, second)
    assert {**one.key, "format": None} == {"name": "one", "steps": 4, "format": None}
    assert two.key == {}
    assert one.bytes == 1000 + len(entry_text({"name": "one", "steps": 4}))
    assert one.modified == max(path.stat().st_mtime for path in first.iterdir())


@pytest.mark.parametrize(("names", "left"), [(None, []), ({"one", "three"}, ["two"]), (set(), ["one", "two"])])
def test_entries_go_by_the_names_of_their_sets(names, left):
    folders = {name: [write_entry({"name": name, "steps": steps}) for steps in (1, 2)] for name in ("one", "two")}
    cleared = clear_entries(names)
    assert {entry.folder for entry in cleared} == {
        folder for name in folders if name not in left for folder in folders[name]
    }
    assert {entry.folder for entry in list_entries()} == {folder for name in left for folder in folders[name]}


def test_an_entry_that_cannot_be_removed_is_named_in_one_line(monkeypatch):
    write_entry({"name": "one"})

    def fail(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("shutil.rmtree", fail)
    with pytest.raises(DataError, match=r"^cannot write the cache .*: Permission denied; set QUIETSPIKE") as raised:
        clear_entries()
    assert "\n" not in str(raised.value)
