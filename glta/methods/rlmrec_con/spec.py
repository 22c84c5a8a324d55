"""RLMRec-Con: LightGCN with a contrast between nodes and profiles."""

from pydantic import Field

from glta.methods.spec import MethodSpec, StepSpec
from glta.nn.graph.settings import (
    ContrastSettings,
    GraphTraining,
    Keep,
    Temperature,
    Weight,
)


class RLMRecConSettings(ContrastSettings, GraphTraining):
    """RLMRec-Con: the contrastive form of RLMRec."""

    keep: Keep = Field(0.8, gt=0, le=1, description="share of edges kept in a training step")
    contrast_weight: Weight = Field(
        0.01, ge=0, description="weight of the contrast between nodes and profiles"
    )
    temperature: Temperature = Field(0.2, gt=0, description="temperature of that contrast")


SPEC = MethodSpec(
    name="rlmrec-con",
    title="RLMRec-Con",
    paper="Ren et al., WWW 2024, arXiv 2310.15950",
    settings=RLMRecConSettings,
    recommender="glta.methods.rlmrec_con.model:RLMRecCon",
    steps=(
        StepSpec(
            "rlmrec-con",
            "glta.methods.rlmrec_con.model:TrainRLMRecCon",
            reads=("prepare", "profile"),
            shares=True,
        ),
    ),
    devices=("cpu", "cuda"),
    place=100,
)
