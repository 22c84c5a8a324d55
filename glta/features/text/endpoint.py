"""Answers from a server with the OpenAI protocol: vLLM, llama.cpp, Ollama, or a paid service."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

TRIES = 4
MAX_WAIT_SECONDS = 30.0  # before one try, also where the server asks for more
RETRY_STATUSES = {408, 409, 425, 429, 500, 502, 503, 504}  # that may go away by themselves


@dataclass
class Endpoint:
    """Ask a server by POST ADDRESS/chat/completions, at temperature 0.

    The key is read from OPENAI_API_KEY and written nowhere.

    timeout_seconds: of one request. backoff_seconds: wait before the second try, doubled before
    each further one. batch: number of requests at the same time.
    """

    address: str
    model: str
    max_new_tokens: int
    timeout_seconds: float = 120.0
    backoff_seconds: float = 1.0
    batch: int = 8

    @property
    def identity(self) -> dict[str, Any]:
        """All that an answer depends on but the prompt."""
        return {
            "provider": "endpoint",
            "address": self.address.rstrip("/"),
            "model": self.model,
            "max_new_tokens": self.max_new_tokens,
        }

    def write(self, prompts: Sequence[str]) -> list[str]:
        """Answer each prompt.

        Raises ConnectionError when the server cannot be reached, and ValueError when it refuses a
        request.
        """
        key = os.environ.get("OPENAI_API_KEY", "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with (
            httpx.Client(headers=headers, timeout=self.timeout_seconds) as client,
            ThreadPoolExecutor(self.batch) as pool,
        ):
            return list(pool.map(lambda prompt: self.ask(client, prompt), prompts))

    def ask(self, client: httpx.Client, prompt: str) -> str:
        """Answer one prompt, with TRIES tries where the failure may pass. Raises as `write`."""
        address = f"{self.address.rstrip('/')}/chat/completions"
        request = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": self.max_new_tokens,
            "temperature": 0,
        }
        problem = ""
        wait = 0.0
        for attempt in range(TRIES):
            time.sleep(min(wait, MAX_WAIT_SECONDS))
            wait = self.backoff_seconds * 2**attempt
            try:
                response = client.post(address, json=request)
            except httpx.InvalidURL as error:
                raise ValueError(
                    f"profile.endpoint = {self.address}: not an address ({error})"
                ) from None
            except httpx.TransportError as error:  # no network, no server, broken off, or too slow
                problem = str(error) or type(error).__name__
                continue
            if response.status_code not in RETRY_STATUSES:
                return self.read(response)
            problem = f"status {response.status_code}: {excerpt(response)}"
            asked = response.headers.get("Retry-After", "")
            if asked.isdecimal():
                wait = max(wait, float(asked))
        raise ConnectionError(
            f"{address}: no answer after {TRIES} tries ({problem}); check the network and "
            "profile.endpoint, then run again: the answers received so far are kept"
        )

    def read(self, response: httpx.Response) -> str:
        """Return the text of a response. Raises ValueError that says what to change."""
        where = response.url
        status = response.status_code
        if status in (401, 403):
            raise ValueError(
                f"{where}: the server refused the key (status {status}); set OPENAI_API_KEY to a "
                "valid one"
            )
        if status == 404:
            raise ValueError(
                f"{where}: no such model or address (status 404: {excerpt(response)}); "
                f"check profile.endpoint_model = {self.model} and profile.endpoint = {self.address}"
            )
        if status != 200:
            raise ValueError(
                f"{where}: the server refused the request (status {status}: {excerpt(response)})"
            )
        try:
            answer = response.json()["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError):
            answer = None
        if not isinstance(answer, str):
            raise ValueError(
                f"{where}: the answer is no chat completion ({excerpt(response)}); check "
                "profile.endpoint"
            )
        return answer


def excerpt(response: httpx.Response) -> str:
    """Return the start of a response in one line."""
    return " ".join(response.text.split())[:200] or "empty"
