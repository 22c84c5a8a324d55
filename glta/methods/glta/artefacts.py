"""Save and load what a step of GLTA passes on to the next one."""

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
from glta.methods.glta.evidence import evidence_of
from glta.methods.glta.heads import Head, new_head
from glta.methods.glta.new_users import NewUsers
from glta.methods.glta.settings import AlignSettings, AlignUsersSettings
from glta.methods.shared.graph_nodes import Nodes
from glta.nn.language.frozen import load_language
from glta.nn.language.node_prompts import READ_OUT, Prompt, packed, unpacked
from glta.nn.language.settings import LanguageSettings
from glta.storage.arrays import joined, part_of
from glta.storage.files import read_json, write_json
from glta.storage.schema import check_schema
from glta.storage.tensors import load_tensors, save_tensors

SCHEMA = 2
"""Version of the file format of both artefacts."""


class AlignedItems(NamedTuple):
    """Hold the result of item alignment.

    tensors: weights of the aligner, by name. enabled: True when the item projector was trained.
    history: one record an epoch.
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
    """Describe how an aligner was made.

    language_sha256: digest of the language model's files in training. item_alignment: True when
    item alignment was enabled. trained: shapes of the trained weights, by name.
    """

    language: LanguageSettings
    align: AlignSettings
    align_users: AlignUsersSettings
    language_sha256: str
    item_alignment: bool
    trained: dict[str, list[int]]


@dataclass(frozen=True, eq=False)
class AlignedUsers:
    """Hold the result of user alignment, and read prompts with it.

    weights: of the aligner, by name. nodes, prompts: of all users, as used when serving. states:
    the read-out states of these prompts, (U, K, H) float32. history: records of both alignments.
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
        """Return the aligner. Its language model is loaded at the first use.

        Raises ValueError when the language model is not found, or has other files than in
        training.
        """
        shared = self.about.align.model_copy(update={"checkpoint_layers": False})
        settings = self.about.language.model_copy(update={"sha256": self.about.language_sha256})
        language = load_language(settings.at(shared.precision))
        every = np.ones(len(self.nodes.item), bool)
        # any seed will do: the saved weights replace the random ones
        aligner = new_aligner(language, self.nodes, shared, seed=0, known_I=every)
        if "user_projector.weight" in self.weights:
            aligner.user_projector = torch.nn.Linear(self.nodes.user.shape[1], language.width)
        aligner.head = self._new_head()
        aligner.load(self.weights)
        return aligner.to(language.device)

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the head's (weight (I, H), bias (I,)): logits = states @ weight.T + bias."""
        weight, bias = (self.weights[f"item_projector.{name}"] for name in ("weight", "bias"))
        head = self._new_head()
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

    def _new_head(self) -> Head:
        """Make a head of the trained one's shape: wider than a state, where it reads evidence."""
        width = self.weights["head.centre"].numel()
        generator = torch.Generator().manual_seed(0)
        return new_head(self.about.align, width, len(self.nodes.item), generator)

    def read_histories(self, history_BI: csr_array) -> np.ndarray:
        """Read one prompt for each new user. Returns the states of the first read-out, (B, H).

        history_BI: columns are the items of training. Raises ValueError when users have no token.
        """
        params = self.about.align_users
        if not params.user_token:
            raise ValueError(
                "settings.glta.align_users.user_token = false: glta then knows its training users "
                "alone; for new users, set it to true and train again"
            )
        user = fold_in(history_BI, self.new_users.message)
        item = self._nodes_there.item
        nodes = Nodes(torch.from_numpy(user).to(item.device), item)
        prompts = self.new_users.prompts(self.aligner.language, history_BI, nodes, params)
        states = self._read(prompts, nodes, "new users read")
        if self.new_users.text is None:
            return states
        return np.concatenate([states, evidence_of(user, history_BI, self.new_users.text)], axis=1)

    def read_after(self, users: np.ndarray, chosen: np.ndarray, note: str) -> np.ndarray:
        """Read the users' prompts with chosen items added. Returns the read-out states, (B, H).

        chosen: (B, t) items to add at the end of the prompt; items < 0 are left out. note: label of
        the progress bar.
        """
        prompts = [
            self.prompts[user].followed_by(items[items >= 0])
            for user, items in zip(users, chosen, strict=True)
        ]
        states = self._read(prompts, self._nodes_there, note)
        # the evidence about a user stays as it is
        return np.concatenate([states, self.states[users, 0, states.shape[1] :]], axis=1)

    def check_room(self, num_items: int) -> None:
        """Check that prompts with num_items more items fit into the language model.

        Raises ValueError otherwise.
        """
        longest = max(len(p) - int((p.kind == READ_OUT).sum()) for p in self.prompts) + num_items
        most = self.aligner.language.max_tokens
        if longest > most:
            raise ValueError(
                f"settings.glta.serve.mode = autoregressive: lists of {num_items} items need "
                f"prompts of {longest} tokens, but the language model reads {most} at most: lower "
                "recommend.k or settings.glta.align_users.context_items"
            )

    @cached_property
    def _nodes_there(self) -> Nodes:
        """Return the nodes on the language model's device."""
        return self.nodes.to(self.aligner.language.device)

    def _read(self, prompts: Sequence[Prompt], nodes: Nodes, note: str) -> np.ndarray:
        return self.aligner.read(prompts, nodes, note)[:, 0].numpy()

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
            weights={n: tensor for n, tensor in tensors.items() if not n.startswith(parts)},
            nodes=Nodes(tensors["nodes.user"], tensors["nodes.item"]),
            prompts=unpacked(part_of(arrays, "prompts")),
            new_users=NewUsers.of_arrays(part_of(arrays, "new_users"), meta["new_users"]),
            states=arrays["states"],
            history=meta["history"],
            about=About.model_validate(meta["about"]),
        )
