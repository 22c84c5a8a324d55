"""Text-kNN: score items by how similar their text is to the texts of the user's items."""

from typing import Annotated

from pydantic import Field

from glta.config import Search, Section
from glta.methods.spec import MethodSpec, StepSpec


class TextKNNSettings(Section):
    """Text-kNN: cosines of text states."""

    singular_power: Annotated[float, Search(0.0, 1.0)] = Field(
        0.25,
        ge=0,
        le=1,
        description="power of the singular values of the item texts; 1: as they are; 0: whitened, "
        "so that all directions in which texts differ count alike",
    )


SPEC = MethodSpec(
    name="text-knn",
    title="Text-kNN",
    paper="a baseline without a paper",
    settings=TextKNNSettings,
    recommender="glta.methods.text_knn.model:TextKNN",
    steps=(
        StepSpec(
            "text-knn", "glta.methods.text_knn.model:PlaceUsers", reads=("prepare", "profile")
        ),
    ),
    capabilities=frozenset({"histories", "new_items"}),
    place=20,
)
