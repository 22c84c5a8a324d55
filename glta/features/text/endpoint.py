"""Answers from a server that speaks the OpenAI protocol (vLLM, llama.cpp, Ollama, and paid
services).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

TRIES = 4
LONGEST_WAIT = 30.0  # seconds, also where the server asks for more
PASSING = {408, 409, 425, 429, 500, 502, 503, 504}  # statuses that may go away by themselves


@dataclass
class Endpoint:
    """Ask POST <address>/chat/completions, greedily. The key comes from OPENAI_API_KEY and is kept
    nowhere.

    timeout_seconds: of one request. backoff_seconds: wait before the second try, doubled before
    each further one.
    batch: requests under way at once.
    """

    address: str
    model: str
    max_new_tokens: int
    timeout_seconds: float = 120.0
    backoff_seconds: float = 1.0
    batch: int = 8

    @property
    def identity(self) -> dict:
        address = self.address.rstrip("/")
        return {
            "provider": "endpoint",
            "address": address,
            "model": self.model,
            "max_new_tokens": self.max_new_tokens,
        }

    def write(self, prompts: Sequence[str]) -> list[str]:
        """Answer each prompt.

        Raises ConnectionError when the server cannot be reached, ValueError for what it refuses.
        """
        key = os.environ.get("OPENAI_API_KEY", "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with (
            httpx.Client(headers=headers, timeout=self.timeout_seconds) as client,
            ThreadPoolExecutor(self.batch) as pool,
        ):
            return list(pool.map(lambda prompt: self.ask(client, prompt), prompts))

    def ask(self, client: httpx.Client, prompt: str) -> str:
        """Answer one prompt, trying again after failures that may pass."""
        address = f"{self.address.rstrip('/')}/chat/completions"
        request = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": self.max_new_tokens,
            "temperature": 0,
        }
        problem, wait = "", 0.0
        for attempt in range(TRIES):
            time.sleep(min(wait, LONGEST_WAIT))
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
            if response.status_code not in PASSING:
                return self.read(response)
            problem = f"status {response.status_code}: {excerpt(response)}"
            asked = response.headers.get("Retry-After", "")
            wait = max(wait, float(asked)) if asked.isdigit() else wait
        raise ConnectionError(
            f"{address}: no answer after {TRIES} tries ({problem}); check the network and "
            "profile.endpoint, then run again: "
            "the answers received so far are kept"
        )

    def read(self, response: httpx.Response) -> str:
        """Take the text out of a response. Raises ValueError that says what to change."""
        where, status = response.url, response.status_code
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
    """Show the start of a response in one line."""
    return " ".join(response.text.split())[:200] or "empty"
