"""MLflow's own page on the runs, for one person on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from rich.console import Console

from quietspike.core import OptionError
from quietspike.search.config import Experiment
from quietspike.search.store import database_file
from quietspike.search.tracking import tracking_uri

HOST = "127.0.0.1"
QUICK_AND_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight more processes, for what quietspike has no use for
    "UVICORN_LOG_LEVEL": "critical",  # else a traceback at Ctrl-C
}


def open_page(experiment: Experiment, port: int, console: Console) -> int:
    """Serve MLflow's page on an experiment's store until Ctrl-C; of a server that runs elsewhere, say its address.

    Args:
        experiment: whose store.
        port: of the page, on this machine.
        console: told the address.

    Returns:
        The exit code of MLflow.

    Raises:
        OptionError: if nothing is stored yet, or the port is taken.
    """
    uri = tracking_uri(experiment)
    if uri.startswith("http"):
        console.print(f"The runs are at {uri}", highlight=False, markup=False)
        return 0
    store = database_file(uri)
    if store is not None and not store.exists():
        raise OptionError(f"{store}: no runs are stored there yet")
    _check_free(port)
    console.print(f"MLflow on http://{HOST}:{port} until Ctrl-C", highlight=False)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--port", str(port), "--workers", "1"]
    with subprocess.Popen(command, env={**QUICK_AND_QUIET, **os.environ}) as page:
        try:
            return page.wait()
        except KeyboardInterrupt:
            page.terminate()  # the terminal's Ctrl-C has reached it already, SIGTERM has not
            return 0


def _check_free(port: int) -> None:
    """Refuse a port that cannot be had: MLflow would end without a word."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise OptionError(f"--port: {port} cannot be had ({getattr(error, 'strerror', error)})") from None
