"""What the steps of GLTA leave for the next one."""

# U users, I items, B new users, N prompts, K read-outs, H language width
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array

from glta.config import Section
from glta.data.histories import fold_in
from glta.methods.glta.aligner import Aligner, new_aligner
from glta.methods.glta.heads import new_head
from glta.methods.glta.new_users import NewUsers
from glta.methods.glta.nodes import Nodes
from glta.methods.glta.prompts import READ_OUT, Prompt, packed, unpacked
from glta.methods.glta.reading import read_states
from glta.methods.glta.settings import AlignSettings, AlignUsersSettings
from glta.nn.language.frozen import load_language
from glta.nn.language.settings import LanguageSettings
from glta.storage.arrays import joined, part_of
from glta.storage.files import read_json, write_json
from glta.storage.schema import check_schema
from glta.storage.tensors import load_tensors, save_tensors

SCHEMA = 1
"""Counts the forms that the saved artefacts of the alignments have had."""


class AlignedItems(NamedTuple):
    """Hold what item alignment has learnt.

    tensors: of the aligner. enabled: whether the item projector was trained. history: one record an
    epoch.
    """

    tensors: Mapping[str, torch.Tensor]
    enabled: bool
    history: list[dict]

    def save(self, folder: Path) -> None:
        """Write model.safetensors and history.json."""
        about = {"schema": SCHEMA, "enabled": self.enabled}
        save_tensors(folder / "model.safetensors", self.tensors, about)
        write_json(folder / "history.json", self.history)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        path = folder / "model.safetensors"
        tensors, about = load_tensors(path)
        check_schema(about, SCHEMA, path)
        return cls(tensors, about["enabled"], read_json(folder / "history.json"))


class About(Section):
    """Say how an aligner was made.

    language_sha256: of the weights that it was trained with. item_alignment: whether item alignment
    came before. trained: shapes of the trained weights by name.
    """

    language: LanguageSettings
    align: AlignSettings
    align_users: AlignUsersSettings
    language_sha256: str
    item_alignment: bool
    trained: dict[str, list[int]]


@dataclass(frozen=True, eq=False)
class AlignedUsers:
    """Hold what user alignment has made, and read prompts with it.

    weights: of the aligner, by name. nodes, prompts: of all users, for serving. states: the
    read-out states of these prompts, (U, K, H) float32. history: records of both alignments.
    """

    weights: Mapping[str, torch.Tensor]
    nodes: Nodes
    prompts: Sequence[Prompt]
    new_users: NewUsers
    states: np.ndarray
    history: Mapping[str, list[dict]]
    about: About

    @cached_property
    def aligner(self) -> Aligner:
        """The aligner with the language model, which is loaded when it is first asked for.

        Raises ValueError when the language model is not to be found, or has other weights than in
        training.
        """
        shared = self.about.align.model_copy(update={"checkpoint_layers": False})
        settings = self.about.language.model_copy(update={"sha256": self.about.language_sha256})
        language = load_language(settings.at(shared.precision))
        every = np.ones(len(self.nodes.item), bool)
        aligner = new_aligner(language, self.nodes, shared, 0, every)  # any seed: weights follow
        if "user_projector.weight" in self.weights:
            aligner.user_projector = torch.nn.Linear(self.nodes.user.shape[1], language.width)
        aligner.load(self.weights)
        return aligner.to(language.device)

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the head's (weight (I, H), bias (I,)): logits = states @ weight.T + bias."""
        weight, bias = (self.weights[f"item_projector.{name}"] for name in ("weight", "bias"))
        head = new_head(
            self.about.align, len(weight), len(self.nodes.item), torch.Generator().manual_seed(0)
        )
        head.load_state_dict(
            {
                name.removeprefix("head."): tensor
                for name, tensor in self.weights.items()
                if name.startswith("head.")
            }
        )
        with torch.inference_mode():
            factors = head.factors(F.linear(self.nodes.item, weight, bias))
        return factors[0].numpy(), factors[1].numpy()

    def read_histories(self, history_BI: csr_array) -> np.ndarray:
        """Read a prompt for each new user: states of the first read-out, (B, H).

        history_BI: over the items of training. Raises ValueError when users have no token.
        """
        params = self.about.align_users
        if not params.user_token:
            raise ValueError(
                "settings.glta.align_users.user_token = false: this glta knows users by their ids "
                "alone, not by their items"
            )
        prompts = self.new_users.prompts(self.aligner.language, history_BI, params)
        user = torch.from_numpy(fold_in(history_BI, self.new_users.message))
        item = self._nodes_there.item
        return self._read(prompts, Nodes(user.to(item.device), item), "new users read")

    def read_after(self, users: np.ndarray, chosen: np.ndarray, note: str) -> np.ndarray:
        """Read the users' prompts with the chosen items (B, t) fed back: states of the read-out
        after them, (B, H). Items < 0 are left out.
        """
        prompts = [
            self.prompts[user].followed_by(items[items >= 0])
            for user, items in zip(users, chosen, strict=True)
        ]
        return self._read(prompts, self._nodes_there, note)

    def check_room(self, num_items: int) -> None:
        """Raise ValueError when prompts with so many more items are longer than the language model
        can read.
        """
        longest = max(len(p) - int((p.kind == READ_OUT).sum()) for p in self.prompts) + num_items
        most = self.aligner.language.max_tokens
        if longest > most:
            raise ValueError(
                f"settings.glta.serve.mode = autoregressive: lists of {num_items} items need "
                f"prompts of {longest} tokens, the language model takes {most}: lower recommend.k "
                "or settings.glta.align_users.context_items"
            )

    @cached_property
    def _nodes_there(self) -> Nodes:
        """The nodes on the language model's device."""
        return self.nodes.to(self.aligner.language.device)

    def _read(self, prompts: Sequence[Prompt], nodes: Nodes, note: str) -> np.ndarray:
        return read_states(self.aligner, prompts, nodes, note)[:, 0].numpy()

    def save(self, folder: Path) -> None:
        """Write aligner.safetensors, and history.json for the report."""
        new_users, about_new_users = self.new_users.arrays()
        arrays = {
            "states": self.states,
            **joined({"prompts": packed(self.prompts), "new_users": new_users}),
        }
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        nodes = {"nodes.user": self.nodes.user, "nodes.item": self.nodes.item}
        save_tensors(
            folder / "aligner.safetensors",
            {**self.weights, **nodes, **tensors},
            {
                "schema": SCHEMA,
                "about": self.about.model_dump(),
                "new_users": about_new_users,
                "history": dict(self.history),
            },
        )
        write_json(folder / "history.json", dict(self.history))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. The language model is not loaded."""
        path = folder / "aligner.safetensors"
        tensors, meta = load_tensors(path)
        check_schema(meta, SCHEMA, path)
        parts = ("states", "nodes.", "prompts.", "new_users.")
        arrays = {n: t.numpy() for n, t in tensors.items() if n.startswith(parts)}
        return cls(
            {name: tensor for name, tensor in tensors.items() if not name.startswith(parts)},
            Nodes(tensors["nodes.user"], tensors["nodes.item"]),
            unpacked(part_of(arrays, "prompts")),
            NewUsers.of_arrays(part_of(arrays, "new_users"), meta["new_users"]),
            arrays["states"],
            meta["history"],
            About.model_validate(meta["about"]),
        )
