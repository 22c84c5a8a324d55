"""Text-kNN: score items by how similar their text is to the texts of the user's items."""

from glta.config import Section
from glta.methods.shared.settings import SingularPower
from glta.methods.spec import MethodSpec, StepSpec


class TextKNNSettings(Section):
    """Text-kNN: cosines of text states."""

    singular_power: SingularPower = 0.25


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
