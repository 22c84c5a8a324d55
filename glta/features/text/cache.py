"""Answers are kept by content, so that nothing is asked twice and an interrupted run goes on where
it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from glta.progress import bar

CACHE = Path(".cache/profile")


class Provider(Protocol):
    """Answer prompts. identity: everything that an answer depends on but the prompt, JSON-able,
    without secrets.

    batch: prompts that are best answered together.
    """

    identity: dict
    batch: int

    def write(self, prompts: Sequence[str]) -> list[str]:
        """Answer each prompt.

        Raises ValueError or OSError, with what to do about it, when that fails.
        """


def digest(value) -> str:
    """Hash a JSON-able value."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, ensure_ascii=False).encode()
    ).hexdigest()


class Cached:
    """Ask a provider for what is not yet known.

    One file of JSON lines a provider: {"key": of the prompt, "answer"}.
    """

    def __init__(self, provider: Provider, folder: Path = CACHE):
        self.provider, self.identity, self.batch = provider, provider.identity, provider.batch
        self.path = folder / f"{digest(provider.identity)}.jsonl"

    def known(self) -> dict[str, str]:
        """Read all answers by key.

        The torn line of an interrupted run is passed over; its prompt is asked again.
        """
        answers = {}
        if self.path.exists():
            for line in self.path.read_bytes().splitlines():
                try:
                    entry = json.loads(line)
                    answers[entry["key"]] = entry["answer"]
                except (ValueError, TypeError, KeyError):
                    continue
        return answers

    def write(self, prompts: Sequence[str]) -> list[str]:
        """Answer each prompt; answers are kept after every batch."""
        keys, answers = [digest(prompt) for prompt in prompts], self.known()
        missing = {
            key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in answers
        }
        if missing:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with (
                self.path.open("ab", buffering=0) as file,
                bar(len(missing), "prompts answered") as advance,
            ):
                todo = list(missing.items())
                for start in range(0, len(todo), self.batch):
                    part = todo[start : start + self.batch]
                    new = self.provider.write([prompt for _, prompt in part])
                    for (key, _), answer in zip(part, new, strict=True):
                        answers[key] = answer
                        # one write a line, opened by a newline that closes a torn one: other stages
                        # may append as well
                        file.write(
                            b"\n" + json.dumps({"key": key, "answer": answer}).encode() + b"\n"
                        )
                    advance(len(part))
        return [answers[key] for key in keys]
