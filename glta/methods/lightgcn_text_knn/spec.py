"""LightGCN + text-kNN: a simple baseline for every method that uses text."""

from pydantic import Field

from glta.config import Section
from glta.methods.spec import MethodSpec, StepSpec


class LightGCNTextKNNSettings(Section):
    """LightGCN + text-kNN: a weighted sum of two component scores."""

    weight_steps: int = Field(
        21, ge=2, le=1001, description="number of weights tried on validation, evenly from 0 to 1"
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
            reads=("prepare", "lightgcn", "text-knn"),
        ),
    ),
    capabilities=frozenset({"histories", "new_items"}),
    place=60,
)
