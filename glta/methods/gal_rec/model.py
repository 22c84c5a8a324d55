"""GAL-Rec as a recommender: vectors of users and items, and what reads new users."""

# U users, I items, F width of external vectors
from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.histories import checked, known_users
from glta.features.profiles import Profiles
from glta.methods.base import Job, Scorer, Step
from glta.methods.exhibit import Exhibit
from glta.methods.gal_rec.new_user_reader import NewUserReader, ReaderAbout
from glta.methods.gal_rec.spec import GALRecSettings
from glta.methods.shared.about import read_about, write_about
from glta.methods.shared.head_rows import TextRows, fit_rows
from glta.nn.language.settings import LanguageSettings
from glta.storage.arrays import joined, load_arrays, part_of, save_arrays
from glta.storage.files import read_json, write_json

if TYPE_CHECKING:
    from glta.methods.gal_rec.view_training import ViewTraining
    from glta.methods.shared.graph_nodes import GraphNodes


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
        num_known = len(self.reader.item)
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
        # imported here, so that loading and scoring do without torch
        from glta.methods.gal_rec.external_vectors import external_nodes
        from glta.methods.gal_rec.hop_exhibit import hop_exhibit
        from glta.methods.gal_rec.view_examples import Examples
        from glta.methods.gal_rec.view_network import new_network
        from glta.methods.gal_rec.view_prompts import ViewTemplates
        from glta.methods.gal_rec.view_training import ViewTraining
        from glta.nn.language.frozen import load_language
        from glta.training.trainer import train

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
        weights = {
            name: tensor.detach().float().cpu().numpy()
            for name, tensor in network.tensors().items()
        }
        reader = NewUserReader(
            weights,
            nodes.serving.user.numpy(),
            nodes.serving.item.numpy(),
            parts,
            prepared.train,
            texts,
            about,
        )
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
    import torch

    user = task.read_users(np.arange(len(nodes.serving.user))).numpy()
    network = task.network
    with torch.inference_mode():
        serving = network.nodes(task.nodes.serving)
        item = network.items(serving).cpu().numpy()
        bias = network.bias.cpu().numpy().copy()
    return item, bias, user
