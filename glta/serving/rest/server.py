"""Run the REST interface in this process, for `glta serve`."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import os
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from glta.serving.rest.app import make_app
from glta.serving.rest.service import Limits, Service


def serve(
    folder: Path, host: str = "127.0.0.1", port: int = 8000, limits: Limits | None = None
) -> None:
    """Serve a bundle until SIGTERM or Ctrl-C. What is being answered then is answered first.

    SIGHUP loads the bundle in the folder again. It is no request of the interface, because behind a
    proxy every request comes from this machine, and a page in a browser may send requests to it.
    port: 0 takes a free one. Raises OSError when the port is taken, and ValueError for a bundle
    that cannot be loaded.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        # the text of the error itself names the address again
        why = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(f"--host {host} --port {port}: {why}; name another one") from None
    with listening:
        # connections inherit it; without it, an answer waits 40 ms for the other side's receipt
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        service = Service(folder, limits)
        place = f"[{host}]" if ":" in host else host
        if not _is_loopback(host):
            print(
                f"{host}: whoever reaches this machine can ask; there is no login", file=sys.stderr
            )
        shown = f"http://{place}:{listening.getsockname()[1]}"
        print(f"{service.bundle.about.title} on {shown}; Ctrl-C stops it", flush=True)
        # what was loaded stays, so the search for garbage need not look at it again and again
        gc.collect()
        gc.freeze()
        asyncio.run(_run(service, listening))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _run(service: Service, listening: socket.socket) -> None:
    config = uvicorn.Config(
        make_app(service),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=int(service.limits.seconds) + 1,
    )
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, lambda: loop.run_in_executor(None, service.reload))
    await uvicorn.Server(config).serve(sockets=[listening])
