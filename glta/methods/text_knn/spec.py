"""Text-kNN: score items by how similar their text is to the texts of the user's items."""

from glta.config import NoSettings
from glta.methods.spec import MethodSpec, StepSpec

SPEC = MethodSpec(
    name="text-knn",
    title="Text-kNN",
    paper="a baseline without a paper",
    settings=NoSettings,
    recommender="glta.methods.text_knn.model:TextKNN",
    steps=(
        StepSpec(
            "text-knn", "glta.methods.text_knn.model:PlaceUsers", reads=("prepare", "profile")
        ),
    ),
    capabilities=frozenset({"histories", "new_items"}),
    place=20,
)
