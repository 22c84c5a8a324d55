"""GAL-Rec as a recommender: vectors of users and items, and the network that reads new users."""

# U users, I items, B new users, F width of external vectors
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from scipy.sparse import csr_array

from glta.config import Section
from glta.data.histories import checked, known_users
from glta.data.interactions import Interactions
from glta.features.profiles import Profiles
from glta.methods.base import Job, Scorer, Step
from glta.methods.exhibit import Exhibit
from glta.methods.gal_rec.external_vectors import ExternalParts, external_nodes
from glta.methods.gal_rec.hop_exhibit import hop_exhibit
from glta.methods.gal_rec.neighbours import NeighbourSampler
from glta.methods.gal_rec.spec import GALRecSettings
from glta.methods.gal_rec.view_examples import Examples
from glta.methods.gal_rec.view_network import ViewNetwork, new_network
from glta.methods.gal_rec.view_prompts import Side, ViewTemplates
from glta.methods.gal_rec.view_training import ViewTraining
from glta.methods.shared.about import read_about, write_about
from glta.methods.shared.graph_nodes import GraphNodes, Nodes
from glta.methods.shared.head_rows import TextRows, fit_rows
from glta.nn.language.frozen import load_language
from glta.nn.language.settings import LanguageSettings
from glta.storage.arrays import joined, load_arrays, part_of, save_arrays
from glta.storage.files import read_json, write_json
from glta.storage.schema import check_schema
from glta.training.trainer import train

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

    weights: of the network. nodes: external vectors of serving. graph: all training pairs, over
    which new users have neighbours. item_texts: of the items.
    """

    weights: Mapping[str, torch.Tensor]
    nodes: Nodes
    parts: ExternalParts
    graph: Interactions
    item_texts: list[str]
    about: ReaderAbout

    @cached_property
    def network(self) -> ViewNetwork:
        """Return the network.

        Raises ValueError when the language model is not found, or has other files than in training.
        """
        settings = self.about.settings.model_copy(update={"checkpoint_layers": False})
        language = self.about.language.model_copy(update={"sha256": self.about.language_sha256})
        loaded = load_language(language.at(settings.precision))
        # any seed will do: the saved weights replace the random ones
        network = new_network(loaded, self.nodes, settings, seed=0)
        network.load(self.weights)
        return network

    @cached_property
    def templates(self) -> ViewTemplates:
        """The prompts' templates."""
        words = self.about.settings.item_words
        return ViewTemplates(self.network.language, self.item_texts, words)

    def users(self, history_BI: csr_array) -> np.ndarray:
        """Compute the vectors of new users for scores: (B, F). history_BI: 0/1.

        The neighbours that are drawn depend on the history alone. Raises ValueError when users have
        trained vectors instead of external ones.
        """
        settings = self.about.settings
        if settings.external == "none":
            raise ValueError(
                "settings.gal-rec.external = none: gal-rec then knows its training users alone; "
                "for new users, choose external vectors and train again"
            )
        counts = settings.first_neighbours, settings.second_neighbours
        sampler = NeighbourSampler.of_users(self.graph, *counts)
        num_users, num_new = self.graph.num_users, history_BI.shape[0]
        prompts = []
        for row in range(num_new):
            history = history_BI[[row]]
            rng = np.random.default_rng(history.indices)
            (near,) = sampler.draw(np.array([0]), rng, histories=history)
            # new users have the ids after those of training
            prompts.append(self.templates.prompt(Side.USERS, 2, num_users + row, near))
        device = self.network.centre.device
        external = torch.from_numpy(self.parts.users_with(history_BI))
        nodes = Nodes(torch.cat([self.nodes.user, external]), self.nodes.item).to(device)
        states = self.network.read(prompts, nodes, "new users read")
        with torch.inference_mode():
            return self.network.users(states.to(device), nodes.user[num_users:]).cpu().numpy()

    def save(self, path: Path) -> None:
        """Write one file."""
        pairs = {
            "user": self.graph.user,
            "item": self.graph.item,
            "shape": np.array([self.graph.num_users, self.graph.num_items]),
        }
        nodes = {"user": self.nodes.user.numpy(), "item": self.nodes.item.numpy()}
        weights = {name: tensor.cpu().numpy() for name, tensor in self.weights.items()}
        arrays = joined(
            {"network": weights, "nodes": nodes, "parts": self.parts.arrays(), "graph": pairs}
        )
        about = {"about": self.about.model_dump(), "item_texts": self.item_texts}
        save_arrays(path, arrays, {"schema": SCHEMA, **about})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote. The language model is not loaded."""
        arrays, meta = load_arrays(path)
        check_schema(meta, SCHEMA, path)
        pairs = part_of(arrays, "graph")

        def tensors(part: str) -> dict[str, torch.Tensor]:
            return {name: torch.from_numpy(a) for name, a in part_of(arrays, part).items()}

        return cls(
            weights=tensors("network"),
            nodes=Nodes(**tensors("nodes")),
            parts=ExternalParts(**part_of(arrays, "parts")),
            graph=Interactions(pairs["user"], pairs["item"], *pairs["shape"].tolist()),
            item_texts=meta["item_texts"],
            about=ReaderAbout.model_validate(meta["about"]),
        )


@dataclass(frozen=True, eq=False)
class GALRec(Scorer):
    """Score by the dot product of a user's and an item's vector, plus the item's bias.

    user: (U, F), item: (I, F), bias: (I,): float32. text: makes rows for new items. reader: reads
    new users. history: one record an epoch. exhibit: what the report shows.
    """

    user: np.ndarray
    item: np.ndarray
    bias: np.ndarray
    text: TextRows
    reader: NewUserReader
    trainable_parameters: int
    best_epoch: int
    history: list[dict[str, Any]]
    exhibit: Exhibit | None = None

    def score(self, users: np.ndarray) -> np.ndarray:
        from glta.evaluation.ranking import dot_products

        return dot_products(self.user[known_users(users, len(self.user))], self.item) + self.bias

    def score_histories(self, history_BI: csr_array) -> np.ndarray:
        """Score items for new users: the language model reads one prompt for each of them.

        Items that were added by `extended` are left out of the prompts.
        """
        num_known = len(self.reader.nodes.item)
        history_BI = checked(history_BI, len(self.item))[:, :num_known]
        return self.reader.users(history_BI) @ self.item.T + self.bias

    def extended(self, text_JW: np.ndarray) -> Self:
        item, bias = self.text.rows(text_JW)
        return replace(
            self,
            item=np.concatenate([self.item, item]),
            bias=np.concatenate([self.bias, bias]),
        )

    def save(self, folder: Path) -> None:
        """Write a folder that `load` reads. `load` needs the language model's weights besides."""
        arrays = {"user": self.user, "item": self.item, "bias": self.bias}
        save_arrays(folder / "model.safetensors", arrays | joined({"text": self.text._asdict()}))
        self.reader.save(folder / "reader.safetensors")
        write_about(
            folder,
            "gal-rec",
            trainable_parameters=self.trainable_parameters,
            best_epoch=self.best_epoch,
            **self.reader.about.model_dump(),
        )
        write_json(folder / "history.json", self.history)
        if self.exhibit is not None:
            self.exhibit.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder that `save` wrote. The language model is loaded at its first use."""
        about = read_about(folder, "gal-rec")
        arrays, _ = load_arrays(folder / "model.safetensors")
        return cls(
            arrays["user"],
            arrays["item"],
            arrays["bias"],
            TextRows(**part_of(arrays, "text")),
            NewUserReader.load(folder / "reader.safetensors"),
            about["trainable_parameters"],
            about["best_epoch"],
            read_json(folder / "history.json"),
            Exhibit.load(folder),
        )


class TrainGALRec(Step):
    """Train the network, and compute the vectors of all users and items."""

    def run(self, job: Job) -> GALRec:
        settings = job.own(GALRecSettings)
        language_settings = job.section(LanguageSettings, "language")
        prepared = job.prepared
        language = load_language(language_settings.at(settings.precision))
        profiles = Profiles.load(job.source("profile"), prepared.train)
        profiles.refuse_other(language.name, language.sha256)
        nodes, parts = external_nodes(
            settings.external, job.source("pretrain-graph"), prepared, profiles.item_states
        )
        network = new_network(language, nodes.training, settings, job.seed)
        texts = profiles.items["text"].to_list()
        task = ViewTraining(
            network,
            ViewTemplates(language, texts, settings.item_words),
            Examples(prepared, settings, job.seed),
            nodes,
            settings,
            (parts.graph_width, parts.width - parts.graph_width),
            job.seed,
        )
        trained = train(
            task,
            epochs=settings.epochs,
            patience=settings.patience,
            checkpoint=job.checkpoint,
            on_epoch=job.on_epoch,
        )
        about = ReaderAbout(
            language=language_settings, language_sha256=language.sha256, settings=settings
        )
        weights = {name: tensor.detach().cpu() for name, tensor in network.tensors().items()}
        reader = NewUserReader(weights, nodes.serving, parts, prepared.train, texts, about)
        item, bias, user = vectors(task, nodes)
        known = prepared.train.item_degree > 0
        states = profiles.item_states
        rows = fit_rows(states[known], item[known], bias[known], user[:: -(-len(user) // 1000)])
        item[~known], bias[~known] = rows.rows(states[~known])
        count = sum(parameter.numel() for parameter in network.trained().values())
        return GALRec(
            user,
            item,
            bias,
            rows,
            reader,
            count,
            trained.best_epoch,
            trained.history,
            hop_exhibit(task),
        )


def vectors(task: ViewTraining, nodes: GraphNodes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the vectors of all items (I, F), their biases (I,), and of all users (U, F)."""
    user = task.read_users(np.arange(len(nodes.serving.user))).numpy()
    network = task.network
    with torch.inference_mode():
        serving = network.nodes(task.nodes.serving)
        item = network.items(serving).cpu().numpy()
        bias = network.bias.cpu().numpy().copy()
    return item, bias, user
