"""Arrays that are costly to build, kept on disk and read from there through memory maps."""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from quietspike.core.errors import DataError
from quietspike.datasets.locks import locked

Array: TypeAlias = npt.NDArray[Any]

FORMAT = 1
"""Version of an entry's layout; a part of every key, so that other versions' entries are not looked at."""

_MANIFEST = "manifest.json"
_logger = logging.getLogger(__name__)


class DamagedEntryError(DataError):
    """A cache entry that is not what was written."""


def cache_folder() -> Path:
    """``$QUIETSPIKE_CACHE``, else ``$XDG_CACHE_HOME/quietspike``, else ``~/.cache/quietspike``."""
    chosen = os.environ.get("QUIETSPIKE_CACHE")
    if chosen:
        return Path(os.path.expanduser(chosen))
    return Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache"), "quietspike")


def cached(key: Mapping[str, Any], build: Callable[[], Mapping[str, Array]]) -> dict[str, Array]:
    """The arrays of a key, memory-mapped for reading; built first if no whole entry is there.

    Among processes that ask for one key at once, one builds and the others wait. An entry appears by a rename, so one
    whose builder was killed is never seen; one that is damaged later is found by its checksums, reported through
    ``logging`` and built again. A cache that is whole is read without being written to.

    Args:
        key: plain data (JSON) on which the arrays depend; ``key["name"]`` goes into the entry's folder name.
        build: makes the arrays by name; no object arrays.

    Raises:
        DataError: if the cache may not be read or cannot be written; names the folder and the variable that moves it.
    """
    root = cache_folder()
    text = json.dumps({"format": FORMAT, **key}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", str(key.get("name", "arrays"))).lstrip(".")
    entry = root / f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    try:
        return _read(entry, text)
    except (FileNotFoundError, NotADirectoryError, DamagedEntryError):
        pass  # looked at again under the lock, where nobody else is at work on it
    with ExitStack() as stack:
        with _writing(root):
            root.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(root / f"{entry.name}.lock"))
        try:
            return _read(entry, text)
        except FileNotFoundError:
            pass
        except DamagedEntryError as damage:
            _logger.warning("%s; building it again", damage)
        arrays = build()
        with _writing(root):
            _write(entry, text, arrays)
        return _read(entry, text)


@contextmanager
def _writing(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"cannot write the cache {root}: {reason}; set QUIETSPIKE_CACHE to a folder for it") from error


def _read(entry: Path, text: str) -> dict[str, Array]:
    """Open an entry and check every byte of it; FileNotFoundError only if there is none at all."""
    try:
        entry.stat()
        return _open(entry, text)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        reason = error.strerror or error
        raise DataError(
            f"cannot read the cache entry {entry}: {reason}; set QUIETSPIKE_CACHE to another folder"
        ) from error


def _open(entry: Path, text: str) -> dict[str, Array]:
    try:
        manifest = json.loads((entry / _MANIFEST).read_text(encoding="utf-8"))
        if manifest["key"] != text:
            raise DamagedEntryError(f"cache entry {entry} is damaged: {_MANIFEST} is of another key")
        return {name: _read_array(entry / f"{name}.npy", facts) for name, facts in manifest["arrays"].items()}
    except (DamagedEntryError, PermissionError):  # what may not be read may be whole
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedEntryError(f"cache entry {entry} is damaged: {type(error).__name__}: {error}") from error


def _read_array(path: Path, facts: Mapping[str, int]) -> Array:
    if _facts(path) != facts:
        raise DamagedEntryError(f"cache entry {path.parent} is damaged: {path.name} is not what was written")
    array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _write(entry: Path, text: str, arrays: Mapping[str, Array]) -> None:
    """Write beside the entry and rename; the lock is held, so what a killed builder left can go."""
    for leftover in entry.parent.glob(f".{entry.name}.*"):
        _remove(leftover)
    _remove(entry)
    folder = Path(tempfile.mkdtemp(prefix=f".{entry.name}.", dir=entry.parent))
    try:
        facts = {}
        for name, array in arrays.items():
            path = folder / f"{name}.npy"
            np.save(path, np.ascontiguousarray(array), allow_pickle=False)
            facts[name] = _facts(path)
        (folder / _MANIFEST).write_text(json.dumps({"key": text, "arrays": facts}), encoding="utf-8")
        folder.chmod(0o755)  # mkdtemp's are for their owner alone; a cache may be shared
        folder.rename(entry)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _remove(path: Path) -> None:
    """A folder with all in it; or a file or link that lies in its place; or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _facts(path: Path) -> dict[str, int]:
    """What tells a whole file from a damaged one, header and all; a flipped bit shows in the checksum alone."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return {"bytes": len(content), "crc32": zlib.crc32(content)}
