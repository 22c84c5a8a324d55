"""Hold the bundle that is served, and compute in a bounded number of threads."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from glta.serving.bundle import Bundle, load

T = TypeVar("T")
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Bounds of the histogram of latencies."""


class Busy(Exception):
    """Report that the queue is full."""


@dataclass(frozen=True)
class Limits:
    """Bound what a server takes.

    threads: that compute at a time. queue: requests that wait for them or are computed, at most.
    seconds: for one request, its body included. body_bytes: of a request.
    """

    threads: int = 2
    queue: int = 64
    seconds: float = 10.0
    body_bytes: int = 2**16


class Meters:
    """Count requests and answers, for /metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "glta_requests", "requests", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "glta_request_seconds",
            "time from the head of a request to the end of its answer",
            ["path"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.answers = Counter(
            "glta_answers", "lists, by the way that they were made", ["way"], registry=self.registry
        )
        self.reloads = Counter(
            "glta_reloads", "loads of a new bundle", ["result"], registry=self.registry
        )
        self.pending = Gauge(
            "glta_pending",
            "requests that wait for a thread or are computed",
            registry=self.registry,
        )


class Service:
    """Answer from a bundle, which another one may replace while requests are answered."""

    def __init__(self, folder: Path, limits: Limits | None = None):
        """Load the bundle. Raises as `glta.serving.bundle.load` does."""
        self.folder = folder
        self.limits = limits or Limits()
        self.meters = Meters()
        self.bundle: Bundle = load(folder).warm()
        self._pool = ThreadPoolExecutor(self.limits.threads, thread_name_prefix="glta-answer")
        self._pending = 0
        self._counting = threading.Lock()
        self._loading = threading.Lock()
        self.meters.pending.set_function(lambda: self._pending)

    async def run(self, compute: Callable[[], T]) -> T:
        """Compute in a thread. Raises Busy when the queue is full.

        A computation that nobody waits for any more is not begun. One that runs keeps its place in
        the queue until its end.
        """
        with self._counting:
            if self._pending >= self.limits.queue:
                raise Busy
            self._pending += 1
        try:
            future = self._pool.submit(compute)
        except RuntimeError:
            self._release()
            raise
        future.add_done_callback(self._release)
        return await asyncio.wrap_future(future)

    def _release(self, *_: object) -> None:
        with self._counting:
            self._pending -= 1

    def reload(self) -> bool:
        """Load the folder again, and serve the new bundle once it is ready.

        Requests that are being answered keep the bundle that they began with. Returns False, and
        goes on with the old bundle, when the new one cannot be loaded; a line on stderr says why.
        """
        with self._loading:
            try:
                self.bundle = load(self.folder).warm()
            # whatever is wrong with the new bundle, the old one goes on
            except Exception as error:
                self.meters.reloads.labels("failed").inc()
                print(f"error: {error}; the old bundle is still served", file=sys.stderr)
                return False
            self.meters.reloads.labels("done").inc()
            print(f"loaded {self.folder}, {self.bundle.about.digest}", file=sys.stderr)
            return True

    def close(self) -> None:
        """End the threads, once what they compute is done."""
        self._pool.shutdown(wait=False, cancel_futures=True)
