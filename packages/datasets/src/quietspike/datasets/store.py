"""Rows of samples on disk, in shards that are built side by side and read through memory maps.

A shard is a file of rows and, written after it, a file of facts: how many rows each sample has, and a checksum. Both
appear by a rename, so a shard with facts is whole, and what a killed builder left is built again while the rest stays.
A shard is checked when a process first reads it; a damaged one is reported through ``logging`` and built again.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import threading
import zlib
from bisect import bisect_right
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, closing
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from quietspike.core.cores import usable_cores
from quietspike.core.errors import DataError
from quietspike.datasets.cache import KEY_FILE, LOCK_SUFFIX, cache_errors, entry_folder, entry_text
from quietspike.datasets.locks import locked
from quietspike.datasets.progress import Progress, show_progress

Rows: TypeAlias = npt.NDArray[Any]
Build: TypeAlias = Callable[[Sequence[int]], Generator[Rows, None, None]]
"""Gives the rows of samples, one sample after the other, in the order asked for."""

_logger = logging.getLogger(__name__)


class Shard(NamedTuple):
    """Consecutive samples that are built, checked and mapped together."""

    samples: range
    rows: Path
    facts: Path


class DamagedShardError(DataError):
    """A shard that is not what was written."""


class Store:
    """The rows of each sample of a key, built where they are missing.

    Args:
        key: plain data (JSON) of all that the rows depend on; ``key["name"]`` goes into the entry's folder name.
        parts: how many consecutive samples each shard has.
        dtype: of a row's values.
        row: shape of a row.
        build: gives the rows of samples.

    Raises:
        DataError: if the cache may not be read or cannot be written, or a recording cannot be read.
    """

    def __init__(
        self, key: Mapping[str, Any], parts: Sequence[int], dtype: npt.DTypeLike, row: tuple[int, ...], build: Build
    ) -> None:
        self._text, self._folder, self._build = entry_text(key), entry_folder(key), build
        self._dtype, self._row = np.dtype(dtype), row
        self._starts: list[int] = [0, *accumulate(parts)]
        self._shards = [
            Shard(range(start, stop), self._folder / f"{index:05}.rows", self._folder / f"{index:05}.json")
            for index, (start, stop) in enumerate(zip(self._starts, self._starts[1:], strict=False))
        ]
        self._open: dict[int, tuple[Rows, list[int]]] = {}
        self._opening = threading.Lock()
        if not self._is_whole():
            self._build_missing(str(key.get("name", "")))

    def __len__(self) -> int:
        return self._starts[-1]

    def __getstate__(self) -> dict[str, Any]:
        """Without maps and lock, for a process of its own."""
        return {**self.__dict__, "_open": {}, "_opening": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._opening = threading.Lock()

    def rows(self, sample: int) -> Rows:
        """A sample's rows, [n, ...], mapped for reading.

        Raises:
            DataError: if its shard is damaged and cannot be built again.
        """
        index = bisect_right(self._starts, sample) - 1
        if index not in self._open:
            with self._opening:
                if index not in self._open:
                    self._open[index] = self._map(self._shards[index])
        rows, ends = self._open[index]
        place = sample - self._starts[index]
        return rows[ends[place] : ends[place + 1]]

    def _is_whole(self) -> bool:
        try:
            return self._written_key() == self._text and all(shard.facts.exists() for shard in self._shards)
        except OSError as error:
            raise self._unreadable(error) from error

    def _written_key(self) -> str | None:
        try:
            return (self._folder / KEY_FILE).read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _build_missing(self, title: str) -> None:
        with self._locked():
            if self._is_whole():
                return  # by another process meanwhile
            with self._writing():
                self._prepare_folder()
            missing = [shard for shard in self._shards if not shard.facts.exists()]
            total = sum(len(shard.samples) for shard in missing)
            with show_progress(f"{title}: building the cache", total) as progress:
                self._write_all(missing, progress)

    def _write_all(self, shards: Sequence[Shard], progress: Progress) -> None:
        """Side by side; when one fails, or Ctrl-C comes, the others end with the sample that they are at."""
        stop = threading.Event()

        def advance() -> None:
            if stop.is_set():
                raise CancelledError
            progress()

        with ThreadPoolExecutor(max_workers=usable_cores()) as pool:
            writing = [pool.submit(self._write, shard, advance) for shard in shards]
            try:
                done, _ = wait(writing, return_when=FIRST_EXCEPTION)
                for written in done:
                    written.result()
            finally:
                stop.set()
                pool.shutdown(cancel_futures=True)

    def _locked(self) -> ExitStack:
        """Nobody else builds meanwhile."""
        with ExitStack() as stack, self._writing():
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(self._folder.with_name(self._folder.name + LOCK_SUFFIX)))
            return stack.pop_all()

    def _writing(self) -> AbstractContextManager[None]:
        return cache_errors(self._folder.parent)

    def _prepare_folder(self) -> None:
        if not self._folder.is_dir():
            self._folder.unlink(missing_ok=True)
        self._folder.mkdir(exist_ok=True)
        for leftover in self._folder.glob("*.unfinished"):
            leftover.unlink()
        written, key = self._written_key(), self._folder / KEY_FILE
        if written == self._text:
            return
        if written is not None:
            _logger.warning("cache file %s is damaged: it is of another key; building all of it again", key)
        for facts in self._folder.glob("*.json"):
            facts.unlink()
        _write_whole(key, self._text)

    def _write(self, shard: Shard, progress: Progress) -> None:
        unfinished = shard.rows.with_suffix(".rows.unfinished")
        checksum, ends = 0, [0]
        with closing(self._build(shard.samples)) as samples, ExitStack() as stack:
            with self._writing():
                shard.facts.unlink(missing_ok=True)
                stack.callback(unfinished.unlink, missing_ok=True)
                file = stack.enter_context(unfinished.open("wb"))
            for rows in samples:  # whose own errors are none of the cache's
                data = np.ascontiguousarray(rows, self._dtype).tobytes()
                with self._writing():
                    file.write(data)
                checksum = zlib.crc32(data, checksum)
                ends.append(ends[-1] + len(rows))
                progress()
            if len(ends) != len(shard.samples) + 1:
                raise DataError(f"{len(ends) - 1} recordings came where {len(shard.samples)} were announced")
            with self._writing():
                file.flush()
                os.fsync(file.fileno())
                unfinished.rename(shard.rows)
                _write_whole(shard.facts, json.dumps({"crc32": _with_ends(checksum, ends), "ends": ends}))

    def _map(self, shard: Shard) -> tuple[Rows, list[int]]:
        try:
            return self._read(shard)
        except (DamagedShardError, FileNotFoundError) as damage:
            _logger.warning("%s; building it again", damage)
        with self._locked():
            try:
                return self._read(shard)  # another process was first
            except (DamagedShardError, FileNotFoundError):
                with self._writing():
                    self._prepare_folder()
                self._write(shard, lambda: None)
                return self._read(shard)

    def _read(self, shard: Shard) -> tuple[Rows, list[int]]:
        """Map a shard and check every byte of it."""
        try:
            facts = json.loads(shard.facts.read_text(encoding="utf-8"))
            ends = [int(end) for end in facts["ends"]]
            size = ends[-1] * self._dtype.itemsize * int(np.prod(self._row, dtype=np.int64))
            if len(ends) != len(shard.samples) + 1 or shard.rows.stat().st_size != size:
                raise DamagedShardError(f"cache file {shard.rows} is damaged: it has another size than was written")
            if _with_ends(_checksum(shard.rows) if size else 0, ends) != facts["crc32"]:
                raise DamagedShardError(f"cache file {shard.rows} is damaged: it is not what was written")
            if not size:
                return np.empty((0, *self._row), self._dtype), ends
            mapped = np.memmap(shard.rows, self._dtype, "r", shape=(ends[-1], *self._row))
            return mapped.view(np.ndarray), ends  # to slice a memmap takes ten times as long
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._unreadable(error) from error
        except (ValueError, KeyError, TypeError, IndexError, RecursionError, OverflowError) as error:
            if isinstance(error, DamagedShardError):
                raise
            reason = f"{type(error).__name__}: {error}"
            raise DamagedShardError(f"cache file {shard.facts} is damaged: {reason}") from error

    def _unreadable(self, error: OSError) -> DataError:
        reason = error.strerror or error
        return DataError(f"cannot read the cache {self._folder}: {reason}; set QUIETSPIKE_CACHE to another folder")


def _checksum(path: Path) -> int:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return zlib.crc32(content)


def _with_ends(checksum: int, ends: Sequence[int]) -> int:
    """Of the rows, and of where each sample's end: another number there would give another sample's rows."""
    return zlib.crc32(repr(ends).encode(), checksum)


def _write_whole(path: Path, text: str) -> None:
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
