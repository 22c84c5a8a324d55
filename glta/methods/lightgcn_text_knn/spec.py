"""LightGCN + text-kNN: the control that every method using text has to beat."""

from pydantic import Field

from glta.config import Section
from glta.methods.spec import MethodSpec, StepSpec


class LightGCNTextKNNSettings(Section):
    """Weighted sum of LightGCN and text-kNN."""

    weight_steps: int = Field(
        21, ge=2, le=1001, description="weights tried on validation, from 0 to 1"
    )


SPEC = MethodSpec(
    name="lightgcn-text-knn",
    title="LightGCN + text-kNN",
    paper="a control without a paper",
    settings=LightGCNTextKNNSettings,
    recommender="glta.methods.lightgcn_text_knn.model:LightGCNTextKNN",
    steps=(
        StepSpec(
            "lightgcn-text-knn",
            "glta.methods.lightgcn_text_knn.model:ChooseWeight",
            reads=("prepare", "profile", "pretrain-all"),
        ),
    ),
    capabilities=frozenset({"histories"}),
    place=60,
)
