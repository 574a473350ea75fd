"""The designs that a supernet puts forward, written down once, so that a search that goes on tries the same."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from quietspike.core.weights import write_whole
from quietspike.search.design import Design


def queue_file(search: Path) -> Path:
    """Where a search keeps it."""
    return search / "supernet" / "placements.json"


def write_queue(search: Path, designs: Iterable[Design]) -> None:
    """Keep designs, the first to be tried first."""
    write_whole(queue_file(search), json.dumps([design.data for design in designs]).encode())


def read_queue(search: Path) -> list[Design] | None:
    """What was kept; ``None`` as long as nothing was."""
    path = queue_file(search)
    return [Design.of(data) for data in json.loads(path.read_text("utf-8"))] if path.exists() else None
