"""The placements that a supernet puts forward, written down once, so that a search that goes on tries the same."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from quietspike.core import Placement
from quietspike.core.weights import write_whole


def queue_file(search: Path) -> Path:
    """Where a search keeps it."""
    return search / "supernet" / "placements.json"


def write_queue(search: Path, placements: Iterable[Placement]) -> None:
    """Keep placements, the first to be tried first."""
    write_whole(queue_file(search), json.dumps([placement.data for placement in placements]).encode())


def read_queue(search: Path) -> list[Placement] | None:
    """What was kept; ``None`` as long as nothing was."""
    path = queue_file(search)
    return [Placement(data) for data in json.loads(path.read_text("utf-8"))] if path.exists() else None
