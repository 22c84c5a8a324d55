"""Run the steps of GLTA on the folders of one dataset and seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from glta.data.prepared import Prepared
from glta.features.profiles import Profiles
from glta.features.settings import ProfileSettings
from glta.features.text.extractive import item_terms
from glta.methods.base import Job, Step
from glta.methods.glta.aligner import new_aligner
from glta.methods.glta.alignment import OnEpoch
from glta.methods.glta.artefacts import About, AlignedItems, AlignedUsers
from glta.methods.glta.evidence import Evidence, scaled_texts
from glta.methods.glta.item_alignment import ItemAlignment
from glta.methods.glta.model import GLTA
from glta.methods.glta.new_users import NewUsers
from glta.methods.glta.settings import (
    AlignItemsSettings,
    AlignSettings,
    AlignUsersSettings,
    ServeSettings,
)
from glta.methods.glta.user_alignment import UserAlignment, add_user_projector
from glta.methods.glta.user_prompts import UserPrompts
from glta.methods.shared.graph_nodes import GraphNodes, load_nodes
from glta.nn.graph.node_embeddings import NodeEmbeddings
from glta.nn.language.frozen import Language, load_language
from glta.nn.language.settings import LanguageSettings


@dataclass(frozen=True)
class AlignInputs:
    """Hold the inputs of both alignments.

    profile: folder of the step profile. embeddings: folder of `NodeEmbeddings` trained on the edges
    that `shared.edges` names.
    """

    prepared: Prepared
    profile: Path
    embeddings: Path
    language: LanguageSettings
    shared: AlignSettings

    @property
    def known(self) -> np.ndarray:
        """Return (I,) bool, True for items with training users."""
        return self.prepared.train.item_degree > 0

    def nodes(self) -> GraphNodes:
        """Propagate the node embeddings."""
        return load_nodes(self.embeddings, self.prepared, self.shared.edges == "graph")

    def model(self) -> Language:
        """Load the language model, in the precision of the alignments.

        Raises ValueError when it is not the one of the item texts' states.
        """
        language = load_language(self.language.at(self.shared.precision))
        self.profiles.refuse_other(language.name, language.sha256)
        return language

    @cached_property
    def profiles(self) -> Profiles:
        """Item texts, user words and their states."""
        return Profiles.load(self.profile, self.prepared.train)


def align_items(
    inputs: AlignInputs,
    params: AlignItemsSettings,
    *,
    seed: int,
    checkpoint: Path | None = None,
    on_epoch: OnEpoch = lambda record: None,
) -> AlignedItems:
    """Train item projector and head. Without params.enabled, return them as they start."""
    nodes = inputs.nodes().training
    aligner = new_aligner(inputs.model(), nodes, inputs.shared, seed=seed, known_I=inputs.known)
    texts = inputs.profiles.items["text"].to_list()
    states = inputs.profiles.item_states
    task = ItemAlignment(
        aligner, inputs.shared, seed, nodes=nodes, texts=texts, states_IH=states, params=params
    )
    if not params.enabled:
        task.start()
        return AlignedItems(aligner.tensors(), False, [])
    found = task.train(checkpoint, on_epoch)
    return AlignedItems(aligner.tensors(), True, found.history)


def align_users(
    inputs: AlignInputs,
    items: AlignedItems,
    *,
    params: AlignUsersSettings,
    profile: ProfileSettings,
    seed: int,
    checkpoint: Path | None = None,
    on_epoch: OnEpoch = lambda record: None,
) -> AlignedUsers:
    """Train user projector and head.

    An item projector that item alignment has trained is not changed.
    """
    nodes = inputs.nodes()
    language = inputs.model()
    aligner = new_aligner(language, nodes.training, inputs.shared, seed=seed, known_I=inputs.known)
    aligner.load(items.tensors)
    if params.user_token:
        add_user_projector(aligner, nodes.training, seed)
    aligner.item_projector.requires_grad_(not items.enabled)
    prompts, serving = user_prompts(inputs, language, params)
    serving_prompts = serving.serving(inputs.prepared.train, nodes.serving, seed)
    task = UserAlignment(
        aligner,
        inputs.shared,
        seed,
        prepared=inputs.prepared,
        nodes=nodes,
        prompts=prompts,
        serving_prompts=serving_prompts,
        states_IH=inputs.profiles.item_states,
        evidence=evidence(inputs, nodes) if params.evidence else None,
    )
    found = task.train(checkpoint, on_epoch)
    return AlignedUsers(
        weights={name: tensor.cpu() for name, tensor in aligner.tensors().items()},
        nodes=nodes.serving,
        prompts=serving_prompts,
        new_users=new_users(inputs, profile, params),
        states=task.users_at(found.best_epoch).numpy(),
        history={"align_items": items.history, "align_users": found.history},
        about=About(
            language=inputs.language,
            align=inputs.shared,
            align_users=params,
            language_sha256=language.sha256,
            item_alignment=items.enabled,
            trained={name: list(p.shape) for name, p in aligner.trained().items()},
        ),
    )


def serve(aligned: AlignedUsers, prepared: Prepared, profile: Path, params: ServeSettings) -> GLTA:
    """Make the recommender from the result of stage 3.

    Items without training users get their row of the head from their text. profile: folder of the
    step profile.
    """
    states = Profiles.load(profile, prepared.train).item_states
    return GLTA.of(aligned, states, prepared.train.item_degree > 0, params.mode)


def user_prompts(
    inputs: AlignInputs, language: Language, params: AlignUsersSettings
) -> tuple[UserPrompts, UserPrompts]:
    """Make the prompts for training and for serving.

    Prompts for training use the words of the graph's items alone, so that they show no word of a
    target. With `targets: all` every training item is a target, and both use all words.
    """
    words = inputs.profiles.users
    ids = inputs.prepared.users["user_id"].to_list()

    def prompts(prefix: str) -> UserPrompts:
        tags, interests = (words[f"{prefix}{kind}"].to_list() for kind in ("tags", "interests"))
        return UserPrompts.of(language, ids, tags, interests, params)

    return prompts("graph_" if inputs.shared.edges == "graph" else ""), prompts("")


def evidence(inputs: AlignInputs, nodes: GraphNodes) -> Evidence:
    """Compute what the head knows of the users besides their read-outs."""
    prepared = inputs.prepared
    shown = prepared.graph if inputs.shared.edges == "graph" else prepared.train
    text = scaled_texts(inputs.profiles.item_states, prepared.train)
    return Evidence.of(nodes, shown, prepared.train, text)


def new_users(
    inputs: AlignInputs, profile: ProfileSettings, params: AlignUsersSettings
) -> NewUsers:
    """Keep what the prompts and the evidence of new users are made of.

    profile: settings of the step profile.
    """
    train = inputs.prepared.train
    words = None
    if profile.provider == "extractive":
        categories = inputs.prepared.items if "categories" in profile.text else None
        words = item_terms(inputs.profiles.items, categories), train
    message = NodeEmbeddings.load(inputs.embeddings).messages(train)
    text = scaled_texts(inputs.profiles.item_states, train) if params.evidence else None
    linked = train.item_degree > 0
    return NewUsers(message, linked, words, profile.num_tags, profile.num_interests, text)


def align_inputs(job: Job) -> AlignInputs:
    """Collect the inputs of both alignments."""
    shared = job.own(AlignSettings, "align")
    return AlignInputs(
        prepared=job.prepared,
        profile=job.source("profile"),
        embeddings=job.source(f"pretrain-{shared.edges}"),
        language=job.section(LanguageSettings, "language"),
        shared=shared,
    )


class AlignItems(Step):
    """Stage 2: train item projector and head on shuffled item descriptions."""

    def run(self, job: Job) -> AlignedItems:
        settings = job.own(AlignItemsSettings, "align_items")
        return align_items(
            align_inputs(job),
            settings,
            seed=job.seed,
            checkpoint=job.checkpoint,
            on_epoch=job.on_epoch,
        )


class AlignUsers(Step):
    """Stage 3: train the user projector, and continue to train the head."""

    def run(self, job: Job) -> AlignedUsers:
        return align_users(
            align_inputs(job),
            AlignedItems.load(job.source("align_items")),
            params=job.own(AlignUsersSettings, "align_users"),
            profile=job.section(ProfileSettings, "profile"),
            seed=job.seed,
            checkpoint=job.checkpoint,
            on_epoch=job.on_epoch,
        )


class MakeRecommender(Step):
    """Make the recommender from the result of stage 3."""

    def run(self, job: Job) -> GLTA:
        aligned = AlignedUsers.load(job.source("align_users"))
        return serve(aligned, job.prepared, job.source("profile"), job.own(ServeSettings, "serve"))
