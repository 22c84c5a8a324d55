"""What the stage `profile` makes: texts of items, words about users, and the states of both."""

# U users, I items, W width of the language model
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from glta.data.interactions import Interactions
from glta.storage.arrays import load_arrays, save_arrays
from glta.storage.files import read_json, write_json
from glta.storage.schema import check_schema

SCHEMA = 1
"""Counts the forms that the saved profiles have had."""


@dataclass(frozen=True)
class Profiles:
    """Hold item texts and user words, with their language-model states.

    items: columns item, text.
    users: columns user, tags, interests, graph_tags, graph_interests; words are joined by ", ".
        Those that begin with graph_ come only from items that are no alignment targets.
    item_states (I, W), user_states (U, W): float32, rows of length 1, or 0 without text.
    about: the provider of the words, the language model, and counts. The language model has
        "model", "sha256" of all its files that count, "files" with the digest of each, and "width".
    """

    items: pl.DataFrame
    users: pl.DataFrame
    item_states: np.ndarray
    user_states: np.ndarray
    about: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write items.parquet, users.parquet, states.safetensors and profile.json."""
        self.items.write_parquet(folder / "items.parquet")
        self.users.write_parquet(folder / "users.parquet")
        states = {"item": self.item_states, "user": self.user_states}
        save_arrays(folder / "states.safetensors", states)
        write_json(folder / "profile.json", {"schema": SCHEMA, **self.about})

    def refuse_other(self, model: str, sha256: str) -> None:
        """Raise ValueError when the states are not of this language model.

        model, sha256: its name, and the digest of its files.
        """
        used = self.about["language"]
        if sha256 != used["sha256"]:
            raise ValueError(
                f"language.model = {model}: has sha256 {sha256}, but the stage profile used "
                f"{used['model']} of sha256 {used['sha256']}; use that one again, or set "
                f"language.sha256 = {sha256} (`glta params sync` does it for a folder) and run the "
                "stages again"
            )

    @classmethod
    def load(cls, folder: Path, train: Interactions | None = None) -> Self:
        """Read what `save` wrote.

        train: the training pairs. With them, raises ValueError when the profiles were made for
        another number of users or items.
        """
        about = read_json(folder / "profile.json")
        check_schema(about, SCHEMA, folder / "profile.json")
        path = folder / "states.safetensors"
        arrays, _ = load_arrays(path)
        found = {name: len(array) for name, array in arrays.items()}
        if train and found != {"user": train.num_users, "item": train.num_items}:
            raise ValueError(
                f"{path}: made for other users or items than the prepared data; run the stage "
                "profile again"
            )
        return cls(
            items=pl.read_parquet(folder / "items.parquet"),
            users=pl.read_parquet(folder / "users.parquet"),
            item_states=arrays["item"],
            user_states=arrays["user"],
            about=about,
        )
