"""Make the texts of items, the words about users, and the states of both, whole or in shards."""

# n texts of a shard, W width of the language model
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl

from glta.data.prepared import Prepared
from glta.features.profiles import Profiles
from glta.features.settings import ProfileSettings
from glta.features.text.cache import Cached, KnownAnswers, Provider
from glta.features.text.item_texts import item_texts
from glta.features.text.providers import make_provider
from glta.features.text.user_words import user_prompts, user_words
from glta.nn.language.settings import LanguageSettings
from glta.storage.arrays import load_arrays, save_arrays
from glta.storage.files import read_json, write_json
from glta.storage.shard import Shard

if TYPE_CHECKING:
    from glta.nn.language.frozen import Language


@dataclass(frozen=True)
class TextStates:
    """Hold the states of some texts. rows: (n,) int64, their places. states: (n, W) float32."""

    rows: np.ndarray
    states: np.ndarray


@dataclass(frozen=True)
class ProfileShard:
    """What one shard makes of the profiles.

    answers: of the provider, by the digest of the prompt; {} for extracted words.
    items: states of item texts. users: states of the words about users; None where words are
        generated, because they are complete only when all shards have answered.
    about: what made them, see `ProfileMaker.about`.
    """

    answers: dict[str, str]
    items: TextStates
    users: TextStates | None
    about: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write about.json, answers.json and states.safetensors."""
        arrays = {"item_rows": self.items.rows, "items": self.items.states}
        if self.users:
            arrays |= {"user_rows": self.users.rows, "users": self.users.states}
        save_arrays(folder / "states.safetensors", arrays)
        write_json(folder / "answers.json", self.answers)
        write_json(folder / "about.json", self.about)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Raises FileNotFoundError when a file is missing."""
        arrays, _ = load_arrays(folder / "states.safetensors")
        users = TextStates(arrays["user_rows"], arrays["users"]) if "users" in arrays else None
        items = TextStates(arrays["item_rows"], arrays["items"])
        about = read_json(folder / "about.json")
        return cls(read_json(folder / "answers.json"), items, users, about)


class ProfileMaker:
    """Make the profiles of a dataset: `shard` does the long work, and `join` puts it together.

    The profiles are the same to the last bit for any number of shards, on machines of one kind.
    Users are described by their training items alone.
    """

    def __init__(self, prepared: Prepared, params: ProfileSettings, language: LanguageSettings):
        self.prepared = prepared
        self.params = params
        self._language = language

    @cached_property
    def provider(self) -> Provider | None:
        """Who answers prompts about users; None for extracted words."""
        return make_provider(self.params)

    @cached_property
    def language(self) -> Language:
        """The language model of the states."""
        from glta.nn.language.frozen import load_language

        return load_language(self._language)

    @cached_property
    def texts(self) -> pl.DataFrame:
        """The texts of items."""
        return item_texts(self.prepared.items, self.params)

    @cached_property
    def extracted(self) -> tuple[pl.DataFrame, dict[str, int]]:
        """Words and counts, as of `words`, without a provider."""
        return self.words(None)

    def words(self, provider: Provider | None) -> tuple[pl.DataFrame, dict[str, int]]:
        """Find words about users, and count them: see `user_words`.

        Columns that begin with graph_ come from the items of the graph alone: prompts of the
        alignment's training must not contain its targets.
        """
        found = {}
        for name, pairs in (("", self.prepared.train), ("graph_", self.prepared.graph)):
            found[name] = user_words(
                self.prepared.items, self.texts, pairs, self.params, provider=provider
            )
        words, counts = found[""]
        of_graph = found["graph_"][0].select(pl.col("tags", "interests").name.prefix("graph_"))
        return words.with_columns(of_graph), counts

    @cached_property
    def about(self) -> dict[str, Any]:
        """What makes the words and the states, besides the data and the parameters."""
        return {
            "provider": self.provider.identity if self.provider else {"provider": "extractive"},
            "language": {
                "model": self.language.name,
                "sha256": self.language.sha256,
                "files": self.language.digests,
                "width": self.language.width,
            },
            "precision": str(self.language.precision),
            "device": self.language.device.type,
            "batch_tokens": self.language.batch_tokens,
        }

    def shard(self, shard: Shard) -> ProfileShard:
        """Answer the prompts of a shard, and encode its texts."""
        answers: dict[str, str] = {}
        users = None
        if self.provider:
            prompts = [
                prompt
                for pairs in (self.prepared.train, self.prepared.graph)
                for prompt in user_prompts(self.texts["text"], pairs, self.params)
            ]
            answers = Cached(self.provider).answers(prompts, shard)
        else:
            users = self._encoded(descriptions(self.extracted[0]), shard)
        return ProfileShard(answers, self._encoded(self.texts["text"], shard), users, self.about)

    def join(self, shards: list[ProfileShard]) -> Profiles:
        """Put the work of all shards together.

        Raises ValueError when a part is missing, and when shards were not all made with the same
        models, batches and kind of processor as this one.
        """
        for shard in shards:
            refuse_different(self.about, shard.about)
        if self.provider:
            answers = {key: text for shard in shards for key, text in shard.answers.items()}
            words, counts = self.words(KnownAnswers(self.provider, answers))
            users = [self._encoded(descriptions(words), Shard())]
        else:
            words, counts = self.extracted
            users = [shard.users for shard in shards if shard.users]
        return Profiles(
            items=self.texts,
            users=words.with_columns(pl.exclude("user").list.join(", ")),
            item_states=in_order([shard.items for shard in shards], self.texts.height),
            user_states=in_order(users, words.height),
            about={
                "provider": self.about["provider"],
                "language": self.about["language"],
                "counts": {"items": self.texts.height, "users": words.height, **counts},
            },
        )

    def _encoded(self, texts: pl.Series, shard: Shard) -> TextStates:
        return TextStates(*self.language.encode_shard(texts.to_list(), shard))


def descriptions(words: pl.DataFrame) -> pl.Series:
    """Join the tags and interests of each user into one text."""
    both = pl.col("tags", "interests").list.join(", ")
    return words.select(pl.concat_str(both, separator=", ").str.strip_chars(", ")).to_series()


def refuse_different(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Raise ValueError when a shard was made with other models, batches or processors."""
    for key, value in ours.items():
        if theirs.get(key) != value:
            raise ValueError(
                f"a shard was made with another {key}: {theirs.get(key)}, and not {value}"
            )


def in_order(parts: list[TextStates], count: int) -> np.ndarray:
    """Put states into the order of their texts, (count, W).

    Raises ValueError unless each text has one state.
    """
    times = np.bincount(np.concatenate([part.rows for part in parts]), minlength=count)
    if times.size != count or (times != 1).any():
        wrong = int((times[:count] != 1).sum()) + times.size - count
        raise ValueError(f"{wrong} of {count} texts are in no shard, or in several")
    states = np.empty((count, parts[0].states.shape[1]), np.float32)
    for part in parts:
        states[part.rows] = part.states
    return states
