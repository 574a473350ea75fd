"""What a run must record beside its configuration to be repeated: versions and the commit."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import distributions


def provenance() -> dict[str, str]:
    """Versions of Python and of what matters here, and the git commit of the working directory."""
    wanted = ("quietspike", "torch", "numpy", "optuna", "ray", "mlflow", "snntorch", "tonic")
    versions = {"version.python": platform.python_version()}
    for distribution in distributions():
        name = distribution.name.lower()
        if name in wanted or name.startswith("quietspike-"):
            versions[f"version.{name}"] = distribution.version
    return {**versions, "git.commit": _commit()}


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
