"""Stage 3 from the folders of one dataset and seed, and what stage 2 has learnt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import polars as pl
import torch

from glta.data.prepared import Prepared
from glta.features.text.extractive import item_terms
from glta.methods.glta.aligner import Aligner, Nodes
from glta.methods.glta.item_alignment import ItemStage, new_aligner
from glta.methods.glta.model import GLTA, save_aligner
from glta.methods.glta.newcomers import Newcomers
from glta.methods.glta.nodes import load_messages, load_nodes
from glta.methods.glta.prompts import Prompt
from glta.methods.glta.user_alignment import UserPrompts, align_users
from glta.nn.language.frozen import load_language
from glta.params.model import Params
from glta.storage.arrays import load_arrays
from glta.storage.files import write_json


class UserStage(NamedTuple):
    """Hold what stage 3 has made.

    model: what ranks. aligner, prompts, nodes: what it was read from. newcomers: for other users.
    items: stage 2.
    history: one record an epoch.
    """

    model: GLTA
    aligner: Aligner
    prompts: list[Prompt]
    nodes: Nodes
    newcomers: Newcomers
    items: ItemStage
    history: list[dict]

    def save(self, folder: Path, params: Params) -> None:
        """Write the folder of a GLTA model. params: those that it was made with."""
        self.model.save(folder)
        self.newcomers.save(folder)
        about = {
            "language_sha256": self.aligner.language.sha256,
            "item_alignment": self.items.enabled,
        }
        save_aligner(folder, self.aligner, self.prompts, self.nodes, params, about)
        write_json(
            folder / "history.json",
            {"align_items": self.items.history, "align_users": self.history},
        )


def run_user_stage(
    cell: Path,
    prepared: Prepared,
    params: Params,
    seed: int,
    items: ItemStage,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict], None] = lambda record: None,
) -> UserStage:
    """Train user projector and head. cell: folder with profile/ and pretrain/.

    items: what stage 2 has learnt; an item projector that it has trained stays as it is.
    """
    nodes = load_nodes(cell / "pretrain", prepared, params.align)
    states = load_arrays(cell / "profile" / "states.safetensors")[0]["item"]
    language = load_language(params.language.at(params.align.precision))
    known = prepared.train.item_degree > 0
    aligner = new_aligner(language, nodes.training, params.align, seed, known)
    aligner.load(items.tensors)
    profile = pl.read_parquet(cell / "profile" / "users.parquet")
    ids = prepared.users["user_id"].to_list()
    prompts, serving = (
        UserPrompts.of(
            language, ids, profile[f"{words}tags"], profile[f"{words}interests"], params.align_users
        )
        for words in ("graph_" if params.align.targets == "held_out" else "", "")
    )
    serving = serving.serving(prepared.train, seed)
    read_outs, history = align_users(
        aligner,
        prepared,
        nodes,
        prompts,
        serving,
        params.align,
        states,
        train_item_projector=not items.enabled,
        seed=seed,
        batch_tokens=params.language.batch_tokens,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )
    with torch.inference_mode():
        head = aligner.head.factors(aligner.item_projector(nodes.serving.item.to(language.device)))
    model = GLTA.of(read_outs.numpy(), *(t.cpu().numpy() for t in head), states, known)
    words = None
    if params.profile.provider == "extractive":
        categories = prepared.items if "categories" in params.profile.text else None
        words = (
            item_terms(pl.read_parquet(cell / "profile" / "items.parquet"), categories),
            prepared.train,
        )
    messages = load_messages(cell / "pretrain", prepared, params.align)
    newcomers = Newcomers(messages, words, params.profile.num_tags, params.profile.num_interests)
    return UserStage(model, aligner, serving, nodes.serving, newcomers, items, history)
