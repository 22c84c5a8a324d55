"""RLMRec-Gen: LightGCN that predicts the profiles of hidden nodes."""

from typing import Annotated

from pydantic import Field

from glta.config import Positive, Search
from glta.methods.spec import MethodSpec, StepSpec
from glta.nn.graph.settings import GraphTraining, Keep, Temperature, Weight


class RLMRecGenSettings(GraphTraining):
    """RLMRec-Gen: the generative form of RLMRec."""

    patience: Positive = Field(
        30,
        description="validations in a row without a better NDCG@20 before training stops; this "
        "method improves after long plateaus",
    )
    keep: Keep = Field(0.8, gt=0, le=1, description="share of edges kept in a training step")
    mask_share: Annotated[float, Search(0.02, 0.3, log=True)] = Field(
        0.05,
        gt=0,
        lt=1,
        description="share of nodes whose own embedding is hidden in a training step",
    )
    reconstruction_weight: Weight = Field(
        0.1, ge=0, description="weight of predicting the profiles of the hidden nodes"
    )
    temperature: Temperature = Field(0.5, gt=0, description="temperature of that prediction")


SPEC = MethodSpec(
    name="rlmrec-gen",
    title="RLMRec-Gen",
    paper="Ren et al., WWW 2024, arXiv 2310.15950",
    settings=RLMRecGenSettings,
    recommender="glta.methods.rlmrec_gen.model:RLMRecGen",
    steps=(
        StepSpec(
            "rlmrec-gen",
            "glta.methods.rlmrec_gen.model:TrainRLMRecGen",
            reads=("prepare", "profile"),
            shares=True,
        ),
    ),
    devices=("cpu", "cuda"),
    place=110,
)
