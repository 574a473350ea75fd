"""What a run must record beside its configuration to be repeated: versions and the commit."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, entry_points, version

from quietspike.core import ATTENTION, BACKBONES, DATASETS, ENGINES, NEURONS

LIBRARIES = ("torch", "numpy", "numba", "optuna", "ray", "mlflow", "snntorch", "tonic")
"""What a result may depend on, beside quietspike and its plugins."""


def provenance() -> dict[str, str]:
    """Versions of Python, of all that brings plugins and of libraries, and the git commit of the working directory."""
    groups = [f"quietspike.{registry.kind}" for registry in (ATTENTION, BACKBONES, DATASETS, ENGINES, NEURONS)]
    plugins = {entry.dist.name for group in groups for entry in entry_points(group=group) if entry.dist}
    versions = {"python": platform.python_version()}
    for name in sorted({*plugins, *LIBRARIES}):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {**{f"version.{name}": text for name, text in versions.items()}, "git.commit": _commit()}


def _commit() -> str:
    """The commit, with a + where files differ from it; ``unknown`` outside a repository."""
    try:
        shown = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return shown.stdout.strip()
