"""Text-kNN: score items by how similar their text is to the texts of the user's items."""

from glta.methods.shared.settings import TextSpaceSettings
from glta.methods.spec import MethodSpec, StepSpec


class TextKNNSettings(TextSpaceSettings):
    """Text-kNN: cosines of text states."""


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
