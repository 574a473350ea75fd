"""The folder of the cache: where entries lie, which there are, and how they go."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quietspike.core.errors import DataError
from quietspike.datasets.locks import locked

FORMAT = 2
"""Version of an entry's layout; a part of every key, so that other versions' entries are not looked at."""

KEY_FILE = "key.json"
LOCK_SUFFIX = ".lock"


@dataclass(frozen=True)
class Entry:
    """What one key has in the cache.

    Args:
        folder: of the entry.
        key: what shaped it; empty where the entry is damaged or of another version.
        bytes: that it takes on disk.
        modified: when it was last written to, in seconds since 1970.
    """

    folder: Path
    key: Mapping[str, Any]
    bytes: int
    modified: float


def cache_folder() -> Path:
    """``$QUIETSPIKE_CACHE``, else ``$XDG_CACHE_HOME/quietspike``, else ``~/.cache/quietspike``."""
    chosen = os.environ.get("QUIETSPIKE_CACHE")
    if chosen:
        return Path(os.path.expanduser(chosen))
    return Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache"), "quietspike")


def entry_text(key: Mapping[str, Any]) -> str:
    """A key as the text that its entry carries."""
    return json.dumps({"format": FORMAT, **key}, sort_keys=True, separators=(",", ":"), allow_nan=False)


def entry_folder(key: Mapping[str, Any]) -> Path:
    """Where a key's entry lies; ``key["name"]`` stands in the folder's name."""
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", str(key.get("name", "arrays"))).lstrip(".")
    return cache_folder() / f"{readable}-{hashlib.sha256(entry_text(key).encode()).hexdigest()[:16]}"


def list_entries() -> list[Entry]:
    """All entries, by name; nothing where there is no cache."""
    return [_entry(path) for path in sorted(cache_folder().glob("*/")) if re.search(r"-[0-9a-f]{16}$", path.name)]


def clear_entries(names: set[str] | None = None) -> list[Entry]:
    """Remove entries of data sets of these names, or all; gives what was removed.

    What a process has open stays readable to it, and is built again where it is asked for once more. What is being
    built is waited for.

    Raises:
        DataError: if an entry cannot be removed.
    """
    cleared = [entry for entry in list_entries() if names is None or entry.folder.name.rpartition("-")[0] in names]
    for entry in cleared:
        lock = entry.folder.with_name(entry.folder.name + LOCK_SUFFIX)
        with cache_errors(cache_folder()), locked(lock):
            if entry.folder.is_dir():  # no other process was first
                shutil.rmtree(entry.folder)
    return cleared


@contextmanager
def cache_errors(root: Path) -> Iterator[None]:
    """Say in one line that the cache cannot be written, and how to have it elsewhere.

    Raises:
        DataError: for an OSError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"cannot write the cache {root}: {reason}; set QUIETSPIKE_CACHE to a folder for it") from error


def _entry(folder: Path) -> Entry:
    try:
        key = json.loads((folder / KEY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        key = {}
    facts = [path.stat() for path in folder.iterdir() if path.is_file()]
    modified = max((fact.st_mtime for fact in facts), default=folder.stat().st_mtime)
    return Entry(folder, key if isinstance(key, dict) else {}, sum(fact.st_size for fact in facts), modified)
