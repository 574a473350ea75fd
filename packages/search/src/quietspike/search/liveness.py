"""Whether the process that claimed a trial still lives."""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Mapping
from typing import Any

import psutil


@functools.cache
def who_am_i() -> dict[str, Any]:
    """Host, process id and start time (s) of this process: an id alone may be given to another process later."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def is_alive(worker: Mapping[str, Any] | None) -> bool:
    """Whether such a process runs. One on another host counts as alive: nothing here can tell."""
    if worker is None:
        return False
    if worker["host"] != socket.gethostname():
        return True
    try:
        process = psutil.Process(worker["pid"])
        return abs(process.create_time() - worker["started"]) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
