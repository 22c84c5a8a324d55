"""Both alignment stages on the checkerboard with a tiny language model: a second each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.features.settings import ProfileSettings
from glta.features.text.item_texts import item_texts
from glta.features.text.user_words import user_words
from glta.methods.glta.aligner import Aligner, new_aligner
from glta.methods.glta.evidence import Evidence, scaled_texts
from glta.methods.glta.item_alignment import ItemAlignment
from glta.methods.glta.settings import AlignItemsSettings, AlignSettings, AlignUsersSettings
from glta.methods.glta.user_alignment import UserAlignment, add_user_projector
from glta.methods.glta.user_prompts import UserPrompts
from glta.methods.shared.graph_nodes import GraphNodes, load_nodes
from glta.nn.graph.node_embeddings import NodeEmbeddings
from glta.nn.language.frozen import Language, load_language
from glta.nn.language.node_prompts import Prompt
from glta.nn.language.settings import LanguageSettings
from glta.testing.blocks import block_embeddings, block_states

BATCH_TOKENS = 2048
ITEMS = AlignItemsSettings(
    items_per_prompt=4, description_tokens=4, batch_size=2, epochs=2, learning_rate=1e-3
)
USERS = AlignUsersSettings(
    context_items=3,
    read_outs=3,
    tag_tokens=3,
    interest_tokens=2,
    batch_size=8,
    epochs=2,
    learning_rate=1e-3,
)


def write_pretrained(folder: Path) -> Path:
    """Write the folder of the stage `pretrain`: embeddings of all edges are three times as long, so
    that a mix-up shows.
    """
    for edges, scale in (("all", 3), ("graph", 1)):
        arrays = {name: scale * array for name, array in block_embeddings().items()}
        place = folder / edges
        place.mkdir(parents=True)
        NodeEmbeddings(arrays["user"], arrays["item"], 2, best_epoch=0).save(place)
    return folder


@dataclass
class Small:
    """Hold what both stages take. language: loaded afresh, as the stages may add adapters to it."""

    folder: Path
    prepared: Prepared
    language: Language
    nodes: GraphNodes
    shared: AlignSettings
    items: AlignItemsSettings
    users: AlignUsersSettings
    seed: int = 0

    @classmethod
    def make(
        cls,
        model: Path,
        pretrained: Path,
        prepared: Prepared,
        items: AlignItemsSettings = ITEMS,
        users: AlignUsersSettings = USERS,
        seed: int = 0,
        **shared,
    ) -> Small:
        shared = AlignSettings(**shared)
        settings = LanguageSettings(model=str(model), batch_tokens=BATCH_TOKENS)
        language = load_language(settings.at(shared.precision), "cpu")
        return cls(
            model,
            prepared,
            language,
            load_nodes(pretrained / shared.edges, prepared, shared.targets == "held_out"),
            shared,
            items,
            users,
            seed,
        )

    @property
    def known(self) -> np.ndarray:
        return self.prepared.train.item_degree > 0

    def words(self, graph: Interactions) -> tuple[list[str], list[str]]:
        """Tags and interests of all users, as the stage `profile` writes them."""
        found, _ = user_words(
            self.prepared.items,
            item_texts(self.prepared.items, ProfileSettings()),
            graph,
            ProfileSettings(),
        )
        return tuple([", ".join(words) for words in found[name]] for name in ("tags", "interests"))

    def prompts(self) -> tuple[UserPrompts, list[Prompt]]:
        """Prompts for training, and those that serve."""
        ids = self.prepared.users["user_id"].to_list()
        graph = self.prepared.graph if self.shared.targets == "held_out" else self.prepared.train
        training, serving = (
            UserPrompts.of(self.language, ids, *self.words(pairs), self.users)
            for pairs in (graph, self.prepared.train)
        )
        return training, serving.serving(self.prepared.train, self.nodes.serving, self.seed)

    def item_task(self) -> ItemAlignment:
        aligner = new_aligner(
            self.language, self.nodes.training, self.shared, seed=self.seed, known_I=self.known
        )
        texts = item_texts(self.prepared.items, ProfileSettings())["text"].to_list()
        return ItemAlignment(
            aligner,
            self.shared,
            self.seed,
            nodes=self.nodes.training,
            texts=texts,
            states_IH=block_states(),
            params=self.items,
        )

    def stage_2(
        self, checkpoint: Path | None = None, on_epoch=lambda record: None
    ) -> tuple[Aligner, list[dict]]:
        task = self.item_task()
        if not self.items.enabled:
            task.start()
            return task.aligner, []
        return task.aligner, task.train(checkpoint, on_epoch).history

    def user_task(self, aligner: Aligner) -> UserAlignment:
        training, serving = self.prompts()
        if self.users.user_token:
            add_user_projector(aligner, self.nodes.training, self.seed)
        aligner.item_projector.requires_grad_(not self.items.enabled)
        graph = self.prepared.graph if self.shared.targets == "held_out" else self.prepared.train
        train = self.prepared.train
        text = scaled_texts(block_states(), train)
        evidence = Evidence.of(self.nodes, graph, train, text) if self.users.evidence else None
        return UserAlignment(
            aligner,
            self.shared,
            self.seed,
            prepared=self.prepared,
            nodes=self.nodes,
            prompts=training,
            serving_prompts=serving,
            states_IH=block_states(),
            evidence=evidence,
        )

    def stage_3(
        self, aligner: Aligner, checkpoint: Path | None = None, on_epoch=lambda record: None
    ) -> tuple[torch.Tensor, list[dict]]:
        task = self.user_task(aligner)
        found = task.train(checkpoint, on_epoch)
        return task.users_at(found.best_epoch), found.history


def copies(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Names of the tensors that are new or differ in any bit."""
    return {n for n, t in after.items() if n not in before or not torch.equal(before[n], t)}


def bits(tensors: dict[str, torch.Tensor]) -> dict[str, bytes]:
    return {
        name: np.ascontiguousarray(tensor.detach().numpy()).tobytes()
        for name, tensor in tensors.items()
    }
