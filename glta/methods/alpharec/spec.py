"""AlphaRec: a map of text states, trained with LightGCN's propagation and no embeddings of ids."""

from typing import Annotated

from pydantic import Field

from glta.config import Choices, Search
from glta.methods.spec import Ablation, MethodSpec, StepSpec
from glta.nn.text.settings import TextTraining


class AlphaRecSettings(TextTraining):
    """AlphaRec: text states, mapped and propagated."""

    num_layers: Annotated[int, Search(0, 4)] = Field(
        2, ge=0, le=16, description="layers of propagation; their mean scores"
    )
    negatives: Annotated[int, Choices(0, 256)] = Field(
        256,
        ge=0,
        le=100_000,
        description="random items that compete with each positive; 0: all that the user lacks",
    )


SPEC = MethodSpec(
    name="alpharec",
    title="AlphaRec",
    paper="Sheng et al., ICLR 2025, arXiv 2407.05441",
    settings=AlphaRecSettings,
    recommender="glta.methods.alpharec.model:AlphaRec",
    steps=(
        StepSpec(
            "alpharec",
            "glta.methods.alpharec.model:TrainAlphaRec",
            reads=("prepare", "profile"),
            shares=True,
        ),
    ),
    ablations={"linear": Ablation({"map": "linear"})},
    capabilities=frozenset({"histories", "new_items"}),
    devices=("cpu", "cuda"),
    place=112,
)
