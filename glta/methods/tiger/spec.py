"""TIGER: an encoder-decoder generates the codes of the next item."""

from __future__ import annotations

from glta.config import Section
from glta.methods.shared.settings import VectorCodes
from glta.methods.spec import Ablation, MethodSpec, StepSpec
from glta.nn.generation.settings import NextCodesSettings


class TIGERSettings(Section):
    """TIGER: generative retrieval by item codes, without a language model."""

    codes: VectorCodes = VectorCodes()
    train: NextCodesSettings = NextCodesSettings()


SPEC = MethodSpec(
    name="tiger",
    title="TIGER",
    paper="Rajput et al., NeurIPS 2023, arXiv 2305.05065; an independent implementation",
    settings=TIGERSettings,
    recommender="glta.methods.tiger.model:TIGER",
    steps=(
        StepSpec(
            "tiger-codes",
            "glta.methods.tiger.model:MakeTIGERCodes",
            reads=("prepare", "profile", "pretrain-all"),
            settings=("codes",),
            shares=True,
        ),
        StepSpec(
            "tiger",
            "glta.methods.tiger.model:TrainTIGER",
            reads=("prepare", "tiger-codes"),
            settings=("train",),
            threads=2,
            shares=True,
        ),
    ),
    ablations={
        # as published: text vectors, and a further code for items with equal ones
        "text-codes": Ablation(
            {
                "codes.kind": "rq-vae",
                "codes.levels": 3,
                "codes.collisions": "token",
                "codes.text_weight": 0.0,
                "codes.vectors": "text",
            }
        ),
        "shuffled-codes": Ablation({"codes.shuffled": True}),
    },
    capabilities=frozenset({"sequences"}),
    devices=("cpu", "cuda"),
    place=118,
)
