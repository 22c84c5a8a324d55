"""Item-kNN: score items by how many users they share with the user's items."""

from typing import Annotated

from pydantic import Field

from glta.config import Search, Section
from glta.methods.shared.settings import Recency, UserPower
from glta.methods.spec import MethodSpec, StepSpec


class ItemKNNSettings(Section):
    """Item-kNN: items that share users with the user's items."""

    neighbours: Annotated[int, Search(5, 1000, log=True)] = Field(
        100, ge=1, description="number of most similar items that are kept for each item"
    )
    shrinkage: Annotated[float, Search(0.1, 1000.0, log=True)] = Field(
        10.0,
        ge=0,
        description="added to the denominator of the cosine; it lowers similarities that rest on "
        "few users",
    )
    user_power: Annotated[UserPower, Search(0.0, 2.0)] = Field(0.0, ge=0, le=4)
    recency: Recency = 1.0


SPEC = MethodSpec(
    name="item-knn",
    title="Item-kNN",
    paper="Sarwar et al., WWW 2001; as compared by Ferrari Dacrema et al., RecSys 2019",
    settings=ItemKNNSettings,
    recommender="glta.methods.item_knn.model:ItemKNN",
    steps=(StepSpec("item-knn", "glta.methods.item_knn.model:FindNeighbours"),),
    capabilities=frozenset({"histories", "sequences"}),
    place=30,
)
