"""Bound size and time of every request, and measure it, before the application sees it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glta.serving.rest.service import Service

OTHER = "other"
"""Stands in metrics for all paths that do not exist, so that nobody can make new series."""


class TooLarge(Exception):
    """Report a body over the limit."""


class Guard:
    """Read the body of a request up to the limit, answer within the time, and count.

    An ASGI middleware of its own, because Starlette's base class for them costs a task a request.
    """

    def __init__(self, app: ASGIApp, service: Service, paths: Collection[str]):
        self.app = app
        self.service = service
        self.paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin = time.perf_counter()
        status = 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._answer(scope, receive, noted)
        except (TooLarge, TimeoutError) as error:
            # of an answer that has begun, only the end of the connection can tell
            if status:
                raise
            await self._refuse(noted, error)
        finally:
            path = scope["path"] if scope["path"] in self.paths else OTHER
            meters = self.service.meters
            meters.requests.labels(path, str(status or 500)).inc()
            meters.seconds.labels(path).observe(time.perf_counter() - begin)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with asyncio.timeout(self.service.limits.seconds):
            body = await self._body(receive)
            parts = iter([{"type": "http.request", "body": body, "more_body": False}])

            async def again() -> Message:
                return next(parts, None) or await receive()

            await self.app(scope, again, send)

    async def _body(self, receive: Receive) -> bytes:
        """Read the whole body. Raises TooLarge as soon as more than the limit has come."""
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self.service.limits.body_bytes:
                raise TooLarge
            if not message.get("more_body"):
                return body

    async def _refuse(self, send: Send, error: Exception) -> None:
        limits = self.service.limits
        headers = []
        if isinstance(error, TooLarge):
            status, text = 413, f"the body is larger than {limits.body_bytes} bytes"
            # the rest of the body is not read
            headers.append((b"connection", b"close"))
        else:
            status, text = 503, f"no answer within {limits.seconds:g} s; try again later"
            headers.append((b"retry-after", b"1"))
        content: Any = json.dumps({"error": text}).encode()
        headers += [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})
