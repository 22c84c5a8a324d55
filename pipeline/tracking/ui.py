"""Open MLflow's pages on the runs of this checkout, on this machine alone."""

from __future__ import annotations

import os
import socket
import sys
import time
import webbrowser

from pipeline.tracking.records import ML_VIEW, experiment_id, tidy
from pipeline.tracking.store import (
    HOME,
    check_store,
    explain,
    is_server,
    open_client,
    tracking_address,
)

HOST = "127.0.0.1"
PAGE = "{address}/#/experiments/{experiment}/runs" + ML_VIEW
# MLflow starts 16 processes for jobs of language-model applications, with more than 3 GB
QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
# seconds that the server has to start before no browser is opened
START_SECONDS = 120


def serve_ui(port: int, open_browser: bool = True) -> None:
    """Print the address of the runs, open it in a browser, and become MLflow's server.

    When MLFLOW_TRACKING_URI names a server, the address is that of this server, and nothing is
    started. Raises ValueError, in one line, for a store that cannot be used and for a busy port.
    """
    check_store()
    tidy()
    try:
        found = experiment_id(open_client())
    # MLflow passes on the errors of SQLAlchemy, alembic and requests
    except Exception as error:
        raise ValueError(explain(error)) from None
    address = tracking_address()
    if is_server(address):
        page = PAGE.format(address=address.rstrip("/"), experiment=found)
        print(f"The runs are at {page}")
        return
    refuse_busy(port)
    page = PAGE.format(address=f"http://{HOST}:{port}", experiment=found)
    print(f"The runs are at {page} (Ctrl-C ends the server)", flush=True)
    if open_browser and _has_browser() and os.fork() == 0:
        _open_when_ready(page, port)
        os._exit(0)
    # places of files in mlflow.db are relative to the checkout
    os.chdir(HOME)
    os.environ |= QUIET
    options = {
        "--backend-store-uri": address,
        "--host": HOST,
        "--port": str(port),
        # one person reads; each worker takes some 300 MB
        "--workers": "1",
        "--uvicorn-opts": "--log-level warning",
    }
    command = [sys.executable, "-m", "mlflow", "ui"]
    os.execv(sys.executable, [*command, *(word for pair in options.items() for word in pair)])  # noqa: S606


def refuse_busy(port: int) -> None:
    """Raise ValueError when another program listens at a port."""
    with socket.socket() as s:
        # as the server does; an address stays in use for a minute after a server has ended
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((HOST, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ValueError(
                f"port {port} of {HOST} cannot be used ({reason}); take another one: `glta ui "
                f"--port {port + 1 if port < 65535 else 5000}`"
            ) from None


def _has_browser() -> bool:
    """Tell whether a person sees this terminal and a browser has a screen."""
    screen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    return sys.stdout.isatty() and screen


def _open_when_ready(page: str, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as s:
            if s.connect_ex((HOST, port)) == 0:
                webbrowser.open(page)
                return
        time.sleep(0.5)
