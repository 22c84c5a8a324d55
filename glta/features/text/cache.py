"""A cache of the answers of a provider, so that no prompt is asked twice.

An interrupted run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from glta.progress import bar
from glta.storage.shard import WHOLE, Shard

CACHE = Path(".cache/profile")


class Provider(Protocol):
    """Answer prompts by a language model."""

    @property
    def identity(self) -> dict[str, Any]:
        """All that an answer depends on but the prompt, in types that JSON has, without secrets."""

    @property
    def batch(self) -> int:
        """The number of prompts that are best answered together."""

    def write(self, prompts: Sequence[str]) -> list[str]:
        """Answer each prompt. Raises ValueError or OSError, with the fix, when that fails."""


def digest(value: Any) -> str:
    """Return the SHA-256 digest of a value that JSON can hold."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Cached:
    """Answer prompts from a file, and ask a provider for the others.

    There is one file for each identity of a provider. A line of it is JSON: {"key": digest of the
    prompt, "answer": text}.
    """

    def __init__(self, provider: Provider, folder: Path = CACHE):
        self.provider = provider
        self.identity = provider.identity
        self.batch = provider.batch
        self.path = folder / f"{digest(provider.identity)}.jsonl"

    def known(self) -> dict[str, str]:
        """Return all answers in the file by their key.

        A line that an interrupted run left torn is passed over, and its prompt is asked again.
        """
        answers: dict[str, str] = {}
        if not self.path.exists():
            return answers
        for line in self.path.read_bytes().splitlines():
            try:
                entry = json.loads(line)
                answers[entry["key"]] = entry["answer"]
            except (ValueError, TypeError, KeyError):
                continue
        return answers

    def write(self, prompts: Sequence[str]) -> list[str]:
        """Answer each prompt; new answers are kept after every batch. Raises as the provider."""
        answers = self.answers(prompts)
        return [answers[digest(prompt)] for prompt in prompts]

    def answers(self, prompts: Sequence[str], shard: Shard = WHOLE) -> dict[str, str]:
        """Answer the prompts of one shard, as `write` does. Returns answers by `digest` of prompt.

        The batches are those of all prompts, whatever the shard: the last digits of a model's
        numbers depend on what else is in a batch, and they may decide between two words. No prompt
        is asked twice, so a batch is smaller when some of its answers are known already.
        """
        unique = {digest(prompt): prompt for prompt in prompts}
        keys = list(unique)
        batches = [keys[i : i + self.batch] for i in range(0, len(keys), self.batch)]
        own = list(shard.pick(batches))
        known = self.known()
        left = [[key for key in batch if key not in known] for batch in own]
        if any(left):
            known |= self._ask([{key: unique[key] for key in batch} for batch in left if batch])
        return {key: known[key] for batch in own for key in batch}

    def _ask(self, batches: list[dict[str, str]]) -> dict[str, str]:
        """Ask the provider, append the answers to the file, and return them; all by their keys."""
        answers: dict[str, str] = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with (
            self.path.open("ab", buffering=0) as file,
            bar(sum(map(len, batches)), "prompts answered") as advance,
        ):
            for batch in batches:
                new = dict(zip(batch, self.provider.write(list(batch.values())), strict=True))
                answers |= new
                # Other stages may append to the same file, so a batch is one write. It begins with
                # a line end, which closes a torn line before it.
                lines = [json.dumps({"key": key, "answer": text}) for key, text in new.items()]
                file.write("\n".join(["", *lines, ""]).encode())
                advance(len(batch))
        return answers


class KnownAnswers:
    """Answer prompts from answers that are there already. identity, batch: of who gave them."""

    def __init__(self, provider: Provider, answers: dict[str, str]):
        self.identity = provider.identity
        self.batch = provider.batch
        self._answers = answers

    def write(self, prompts: Sequence[str]) -> list[str]:
        """Return the answer to each prompt. Raises ValueError for a prompt without one."""
        keys = [digest(prompt) for prompt in prompts]
        if missing := sum(key not in self._answers for key in keys):
            raise ValueError(f"{missing} of {len(keys)} prompts about users have no answer")
        return [self._answers[key] for key in keys]
