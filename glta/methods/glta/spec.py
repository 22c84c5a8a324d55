"""GLTA: graph nodes become tokens of a language model, whose states become item logits."""

from glta.config import Section
from glta.methods.glta.settings import (
    AlignItemsSettings,
    AlignSettings,
    AlignUsersSettings,
    ServeSettings,
)
from glta.methods.spec import Ablation, MethodSpec, StepSpec


class GLTASettings(Section):
    """Graph-Language Token Alignment."""

    align: AlignSettings = AlignSettings()
    align_items: AlignItemsSettings = AlignItemsSettings()
    align_users: AlignUsersSettings = AlignUsersSettings()
    serve: ServeSettings = ServeSettings()


FROM_RANDOM = {"align_items.head_learning_rate": 1e-3, "align_users.head_learning_rate": 1e-3}
"""Learning rates for a head with random weights. Those for a solved start are too low for it."""

GENTLE = {"align_users.learning_rate": 1e-4, "align_users.head_learning_rate": 1e-5}
"""Learning rates for a start that evidence has made strong."""

SPEC = MethodSpec(
    name="glta",
    title="GLTA",
    paper="Graph-Language Token Alignment, WWW 2025 Companion, arXiv 2502.18757",
    settings=GLTASettings,
    recommender="glta.methods.glta.model:GLTA",
    steps=(
        StepSpec(
            "align_items",
            "glta.methods.glta.steps:AlignItems",
            reads=("prepare", "profile", "pretrain-graph"),
            settings=("align", "align_items"),
            shared=("language",),
            threads=2,
            memory_mb=6000,
            shares=True,
        ),
        StepSpec(
            "align_users",
            "glta.methods.glta.steps:AlignUsers",
            reads=("prepare", "profile", "pretrain-graph", "align_items"),
            settings=("align", "align_users"),
            shared=("language", "profile"),
            threads=2,
            memory_mb=6000,
            shares=True,
        ),
        StepSpec(
            "glta",
            "glta.methods.glta.steps:MakeRecommender",
            reads=("prepare", "profile", "align_users"),
            settings=("serve",),
        ),
    ),
    ablations={
        # of the paper: without a stage, without words in the prompt, other prediction modes
        "without-item-alignment": Ablation({"align_items.enabled": False}),
        "without-user-alignment": Ablation({"align_users.user_token": False}),
        "without-profile": Ablation({"align_users.tag_tokens": 0}),
        "without-prediction": Ablation({"align_users.interest_tokens": 0}),
        "without-profile-and-prediction": Ablation(
            {"align_users.tag_tokens": 0, "align_users.interest_tokens": 0}
        ),
        "one-per-position": Ablation({"serve.mode": "one_per_position"}),
        "autoregressive": Ablation({"serve.mode": "autoregressive"}),
        # the paper's stage 3: choose among the items shown
        "among-candidates": Ablation({"align_users.items_shown": "candidates"}),
        # of our own decisions (docs/method.md)
        "tied-head": Ablation({"align.head": "tied"} | FROM_RANDOM),
        "random-head": Ablation({"align.head_init": "random"} | FROM_RANDOM),
        "without-mask": Ablation({"align_users.mask_known": False}),
        "with-evidence": Ablation({"align_users.evidence": True} | GENTLE),
        "without-hidden-items": Ablation({"align_items.hidden_items": 0}),
        "leaky-targets": Ablation({"align.targets": "all"}, reads=("pretrain-all",)),
    },
    capabilities=frozenset({"histories", "new_items"}),
    devices=("cpu", "cuda"),
    place=130,
)
