"""How many CPU cores this process may use."""

import os


def usable_cores() -> int:
    """Those that it is confined to, where the system tells; else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
