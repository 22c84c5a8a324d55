"""Read new users with the trained network. torch is imported when the first one is read."""

# B new users, F width of external vectors
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.sparse import csr_array

from glta.config import Section
from glta.data.interactions import Interactions
from glta.methods.gal_rec.external_vectors import ExternalParts
from glta.methods.gal_rec.neighbours import NeighbourSampler
from glta.methods.gal_rec.spec import GALRecSettings
from glta.nn.language.settings import LanguageSettings
from glta.storage.arrays import joined, load_arrays, part_of, save_arrays
from glta.storage.schema import check_schema

if TYPE_CHECKING:
    import torch

    from glta.methods.gal_rec.view_network import ViewNetwork
    from glta.methods.gal_rec.view_prompts import ViewTemplates
    from glta.methods.shared.graph_nodes import Nodes

SCHEMA = 1
"""Counts the forms that the saved reader has had."""


class ReaderAbout(Section):
    """Describe how a network was made.

    language_sha256: digest of the language model's files in training.
    """

    language: LanguageSettings
    language_sha256: str
    settings: GALRecSettings


@dataclass(frozen=True, eq=False)
class NewUserReader:
    """Read new users with the trained network, which is loaded at its first use.

    weights: of the network, by name. user (U, F), item (I, F): external vectors of serving. graph:
    all training pairs, over which new users have neighbours. item_texts: of the items.
    """

    weights: Mapping[str, np.ndarray]
    user: np.ndarray
    item: np.ndarray
    parts: ExternalParts
    graph: Interactions
    item_texts: list[str]
    about: ReaderAbout

    @cached_property
    def network(self) -> ViewNetwork:
        """Return the network.

        Raises ValueError when the language model is not found, or has other files than in training.
        """
        import torch

        from glta.methods.gal_rec.view_network import new_network
        from glta.nn.language.frozen import load_language

        settings = self.about.settings.model_copy(update={"checkpoint_layers": False})
        language = self.about.language.model_copy(update={"sha256": self.about.language_sha256})
        loaded = load_language(language.at(settings.precision))
        # any seed will do: the saved weights replace the random ones
        network = new_network(loaded, self._nodes(), settings, seed=0)
        network.load({name: torch.from_numpy(array) for name, array in self.weights.items()})
        return network

    @cached_property
    def templates(self) -> ViewTemplates:
        """The prompts' templates."""
        from glta.methods.gal_rec.view_prompts import ViewTemplates

        words = self.about.settings.item_words
        return ViewTemplates(self.network.language, self.item_texts, words)

    @cached_property
    def _sampler(self) -> NeighbourSampler:
        settings = self.about.settings
        counts = settings.first_neighbours, settings.second_neighbours
        return NeighbourSampler.of_users(self.graph, *counts)

    @cached_property
    def _item_vectors(self) -> torch.Tensor:
        """The external vectors of items, (I, F), where the network is."""
        return self._nodes().item.to(self.network.centre.device)

    def users(self, history_BI: csr_array) -> np.ndarray:
        """Compute the vectors of new users for scores: (B, F). history_BI: 0/1.

        The neighbours that are drawn depend on the history alone. Raises ValueError when users have
        trained vectors instead of external ones.
        """
        import torch

        from glta.methods.gal_rec.view_prompts import Side
        from glta.methods.shared.graph_nodes import Nodes

        if self.about.settings.external == "none":
            raise ValueError(
                "settings.gal-rec.external = none: gal-rec then knows its training users alone; "
                "for new users, choose external vectors and train again"
            )
        drawn = []
        for row in range(history_BI.shape[0]):
            history = history_BI[[row]]
            rng = np.random.default_rng(history.indices)
            drawn += self._sampler.draw(np.array([0]), rng, histories=history)
        # users are numbered anew: those that a prompt shows, then the new ones
        shown = np.unique(np.concatenate([np.empty(0, np.int64), *(n.second for n in drawn)]))
        prompts = []
        for row, near in enumerate(drawn):
            renumbered = near._replace(second=np.searchsorted(shown, near.second))
            prompt = self.templates.prompt(Side.USERS, 2, shown.size + row, renumbered)
            prompts.append(prompt)
        device = self.network.centre.device
        user = np.concatenate([self.user[shown], self.parts.users_with(history_BI)])
        nodes = Nodes(torch.from_numpy(user).to(device), self._item_vectors)
        states = self.network.read(prompts, nodes, "new users read")
        with torch.inference_mode():
            return self.network.users(states.to(device), nodes.user[shown.size :]).cpu().numpy()

    def _nodes(self) -> Nodes:
        """Return the external vectors."""
        import torch

        from glta.methods.shared.graph_nodes import Nodes

        return Nodes(torch.from_numpy(self.user), torch.from_numpy(self.item))

    def save(self, path: Path) -> None:
        """Write one file."""
        pairs = {
            "user": self.graph.user,
            "item": self.graph.item,
            "shape": np.array([self.graph.num_users, self.graph.num_items]),
        }
        nodes = {"user": self.user, "item": self.item}
        parts = self.parts.arrays()
        arrays = joined({"network": self.weights, "nodes": nodes, "parts": parts, "graph": pairs})
        about = {"about": self.about.model_dump(), "item_texts": self.item_texts}
        save_arrays(path, arrays, {"schema": SCHEMA, **about})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote. The language model is not loaded."""
        arrays, meta = load_arrays(path)
        check_schema(meta, SCHEMA, path)
        pairs = part_of(arrays, "graph")
        return cls(
            weights=part_of(arrays, "network"),
            **part_of(arrays, "nodes"),
            parts=ExternalParts(**part_of(arrays, "parts")),
            graph=Interactions(pairs["user"], pairs["item"], *pairs["shape"].tolist()),
            item_texts=meta["item_texts"],
            about=ReaderAbout.model_validate(meta["about"]),
        )
